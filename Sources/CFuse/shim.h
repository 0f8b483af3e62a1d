// The low-level API of libfuse 3.14. The version define selects the headers' API level; _FILE_OFFSET_BITS is not
// defined because it clashes with the Glibc module and changes nothing on 64-bit systems.
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <fuse_opt.h>
