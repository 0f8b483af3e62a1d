// libnbd 1.14: the client of network block devices.
#include <libnbd.h>
