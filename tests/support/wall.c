/* A wall clock that a test moves: LD_PRELOAD for a program that asks libc what time it is. The seconds by
 * which it is wrong stand in the file that WALL_CLOCK_FILE names. No other clock is touched. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *wrong_s;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("WALL_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof *wrong_s, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) wrong_s = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME && wrong_s) now->tv_sec += *wrong_s;
    return failed;
}
