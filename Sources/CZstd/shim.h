// The frame-level and advanced APIs of libzstd; `ZSTD_STATIC_LINKING_ONLY` is not defined, so only the stable ABI is visible.
#include <zstd.h>
#include <zstd_errors.h>
