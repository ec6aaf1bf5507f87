/*
 * The limit: C libzstd alone, at the work that a stream's encoder does. One context, each chunk compressed and flushed
 * into one reused buffer. limit.ts uses it in two ways: as a library inside Node, where the ZSTD_ symbols are the
 * executable's own (so both sides run the very same libzstd), and as a program linked with the system's libzstd.
 * The declarations are zstd.h's stable ones, written out because the header is often not installed with the library.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct ZSTD_CCtx_s ZSTD_CCtx;
typedef struct { const void *src; size_t size, pos; } ZSTD_inBuffer;
typedef struct { void *dst; size_t size, pos; } ZSTD_outBuffer;
enum { ZSTD_c_compressionLevel = 100 };
enum { ZSTD_e_flush = 1 };
ZSTD_CCtx *ZSTD_createCCtx(void);
size_t ZSTD_freeCCtx(ZSTD_CCtx *);
size_t ZSTD_CCtx_setParameter(ZSTD_CCtx *, int parameter, int value);
size_t ZSTD_compressStream2(ZSTD_CCtx *, ZSTD_outBuffer *, ZSTD_inBuffer *, int operation);
size_t ZSTD_compressBound(size_t);
unsigned ZSTD_isError(size_t);
const char *ZSTD_versionString(void);

static double cpu_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1e9 + now.tv_nsec;
}

/* result[0]: nanoseconds of CPU of this thread for all chunks; result[1]: bytes that came out. Returns 0 if all went well. */
int limit_run(const uint8_t *data, const uint32_t *lengths, uint32_t count, int level, double *result) {
  uint32_t longest = 0;
  for (uint32_t i = 0; i < count; i++)
    if (lengths[i] > longest) longest = lengths[i];
  size_t room = ZSTD_compressBound(longest) + 128;
  uint8_t *target = malloc(room);
  ZSTD_CCtx *context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  double out_bytes = 0;
  int failed = 0;
  double start = cpu_ns();
  for (uint32_t i = 0; i < count && !failed; i++) {
    ZSTD_inBuffer in = {data, lengths[i], 0};
    ZSTD_outBuffer out = {target, room, 0};
    size_t left = ZSTD_compressStream2(context, &out, &in, ZSTD_e_flush);
    failed = ZSTD_isError(left) || left != 0 || in.pos != in.size;
    out_bytes += out.pos;
    data += lengths[i];
  }
  result[0] = cpu_ns() - start;
  result[1] = out_bytes;
  ZSTD_freeCCtx(context);
  free(target);
  return failed;
}

#ifdef PROGRAM
/* limit FILE LEVEL ROUNDS: FILE is u32 count, that many u32 lengths, the chunks. Prints the version, then a line "nanoseconds bytes" per round. */
int main(int argc, char **argv) {
  if (argc != 4) return 2;
  FILE *file = fopen(argv[1], "rb");
  uint32_t count;
  if (!file || fread(&count, 4, 1, file) != 1) return 2;
  uint32_t *lengths = malloc(4 * (size_t)count);
  if (fread(lengths, 4, count, file) != count) return 2;
  size_t total = 0;
  for (uint32_t i = 0; i < count; i++) total += lengths[i];
  uint8_t *data = malloc(total);
  if (fread(data, 1, total, file) != total) return 2;
  puts(ZSTD_versionString());
  for (int round = atoi(argv[3]); round > 0; round--) {
    double result[2];
    if (limit_run(data, lengths, count, atoi(argv[2]), result)) return 1;
    printf("%.0f %.0f\n", result[0], result[1]);
  }
  return 0;
}
#endif
