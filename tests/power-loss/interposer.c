/* Keeps a journal of what a process has made durable below one directory, so that a power cut can be played
 * afterwards: what was written, created, renamed or removed but not synced is undone. Also makes syncs slow or fail,
 * and the disk full.
 *
 * Preloaded into the broker (LD_PRELOAD) by the power-loss suite; Linux only. Every call goes to the kernel by
 * syscall(2), so that nothing has to be resolved first: allocators open files before any constructor runs.
 *
 * Environment: POWER_DIR the directory, POWER_JOURNAL the journal (outside of it), POWER_GRAVES a directory on the
 * same file system for what is removed or overwritten, POWER_CONTROL a file of three 32-bit words: milliseconds each
 * sync takes; 1 when syncs fail, 2 when the next one does and then none; 1 when the disk has no free blocks, as
 * statvfs tells, 2 when a write also takes half its bytes and then none.
 *
 * Journal, one record a line, fields separated by tabs:
 *   E path size        an existing file was opened for writing
 *   C path             a directory entry was made (file, directory, link)
 *   T path             a file was cut to nothing, or shorter
 *   R from to grave    renamed; grave holds what `to` was, or is -
 *   U path grave       removed; grave holds it
 *   S path size        the file's first `size` bytes are durable
 *   D path             the directory's entries are durable
 *   O path at hex      durable bytes are about to be overwritten; hex is what they were
 *   X path at          bytes from `at` were overwritten or cut off in a way that is not modelled
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 65536
#define OVERWRITE_MAX 512

static const char *dir, *graves;
static size_t dir_len;
static int journal = -1;
static volatile uint32_t *control;
static uint64_t grave_number;
/* Durable bytes of the file behind a descriptor; only a guard against overwrites. */
static int64_t durable[FDS];

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("POWER_JOURNAL");
  graves = getenv("POWER_GRAVES");
  if (path == NULL || graves == NULL || getenv("POWER_DIR") == NULL) return;
  journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  int fd = getenv("POWER_CONTROL") ? (int)syscall(SYS_openat, AT_FDCWD, getenv("POWER_CONTROL"), O_RDWR | O_CLOEXEC) : -1;
  if (fd >= 0) {
    void *map = mmap(NULL, 12, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) control = map;
    close(fd);
  }
  dir = getenv("POWER_DIR");
  dir_len = strlen(dir);
}

static int ours(const char *path) {
  return dir != NULL && path != NULL && strncmp(path, dir, dir_len) == 0 && path[dir_len] == '/';
}

static void note(const char *format, ...) {
  char line[2 * PATH_MAX + 2 * OVERWRITE_MAX + 64];
  int saved = errno;
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  /* One write, and O_APPEND: lines of several threads do not mix. */
  if (length > 0 && syscall(SYS_write, journal, line, (size_t)length) != length) abort();
  errno = saved;
}

static int path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return dir != NULL && (ours(path) || strcmp(path, dir) == 0);
}

/* Writes where a file went to `grave`, or "-" when it was not there. */
static void bury(const char *path, char *grave) {
  snprintf(grave, PATH_MAX, "%s/%ld-%llu", graves, (long)getpid(),
           (unsigned long long)__atomic_add_fetch(&grave_number, 1, __ATOMIC_RELAXED));
  if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, grave, 0) != 0) strcpy(grave, "-");
}

static int open_it(int at, const char *path, int flags, mode_t mode) {
  int tracked = ours(path), writes = (flags & O_ACCMODE) != O_RDONLY, existed = 0;
  struct stat before;
  if (tracked && writes) existed = fstatat(AT_FDCWD, path, &before, 0) == 0;
  int saved = errno;
  int fd = (int)syscall(SYS_openat, at, path, flags, mode);
  if (fd < 0) return fd;
  errno = saved;
  if (!tracked || !writes) return fd;
  if (!existed) note("C\t%s\n", path);
  else if (flags & O_TRUNC) note("T\t%s\n", path);
  else note("E\t%s\t%lld\n", path, (long long)before.st_size);
  if (fd < FDS) durable[fd] = existed && !(flags & O_TRUNC) ? before.st_size : 0;
  return fd;
}

#define MODE_OF(flags)                                  \
  mode_t mode = 0;                                      \
  if ((flags) & (O_CREAT | O_TMPFILE)) {                \
    va_list arguments;                                  \
    va_start(arguments, flags);                         \
    mode = va_arg(arguments, mode_t);                   \
    va_end(arguments);                                  \
  }

int open(const char *path, int flags, ...) { MODE_OF(flags) return open_it(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return open_it(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE_OF(flags) return open_it(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags) return open_it(at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_it(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static int sync_it(int fd) {
  char path[PATH_MAX];
  struct stat now;
  /* The size before the sync: what is written meanwhile may or may not be covered. */
  int tracked = path_of(fd, path) && fstat(fd, &now) == 0;
  if (!tracked) return 0;
  if (control != NULL && control[0] != 0) {
    uint32_t ms = control[0];
    struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000L};
    nanosleep(&wait, NULL);
  }
  uint32_t once = 2;
  if (control != NULL && (control[1] == 1 || __atomic_compare_exchange_n(&control[1], &once, 0, 0, __ATOMIC_SEQ_CST,
                                                                         __ATOMIC_SEQ_CST))) {
    errno = EIO;
    return -1;
  }
  /* The kernel keeps the pages of a killed process; what a power cut leaves is decided by the journal alone. */
  if (S_ISDIR(now.st_mode)) note("D\t%s\n", path);
  else note("S\t%s\t%lld\n", path, (long long)now.st_size);
  if (fd >= 0 && fd < FDS) durable[fd] = now.st_size;
  return 0;
}

int fsync(int fd) { return sync_it(fd); }
int fdatasync(int fd) { return sync_it(fd); }

/* Notes what is about to be overwritten or cut off from `at` on. */
static void note_old(int fd, off_t at, size_t count) {
  char path[PATH_MAX], hex[2 * OVERWRITE_MAX + 1];
  unsigned char old[OVERWRITE_MAX];
  if (fd < 0 || fd >= FDS || at >= durable[fd] || dir == NULL || !path_of(fd, path)) return;
  ssize_t got = count > OVERWRITE_MAX ? -1 : (ssize_t)syscall(SYS_pread64, fd, old, count, at);
  if (got < 0) note("X\t%s\t%lld\n", path, (long long)at);
  for (ssize_t i = 0; i < got; i++) snprintf(hex + 2 * i, 3, "%02x", old[i]);
  if (got > 0) note("O\t%s\t%lld\t%s\n", path, (long long)at, hex);
}

/* How much of a write a full disk takes: all, a half, or nothing. Whoever is given a half asks for the rest. */
static size_t room(int fd, size_t count) {
  static __thread int is_short;
  char path[PATH_MAX];
  if (control == NULL || control[2] != 2 || !path_of(fd, path)) return count;
  is_short = !is_short && count > 1;
  return is_short ? count / 2 : 0;
}

static ssize_t no_space(void) {
  errno = ENOSPC;
  return -1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  size_t taken = count == 0 ? 0 : room(fd, count);
  return taken == 0 && count > 0 ? no_space() : syscall(SYS_write, fd, bytes, taken);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  return room(fd, 1) == 0 ? no_space() : syscall(SYS_writev, fd, parts, count);
}

static int statvfs_it(const char *path, struct statvfs *told) {
  struct statfs now;
  if (syscall(SYS_statfs, path, &now) != 0) return -1;
  memset(told, 0, sizeof *told);
  told->f_bsize = now.f_bsize;
  told->f_frsize = now.f_frsize ? now.f_frsize : now.f_bsize;
  told->f_blocks = now.f_blocks;
  told->f_bfree = now.f_bfree;
  told->f_bavail = now.f_bavail;
  told->f_files = now.f_files;
  told->f_ffree = told->f_favail = now.f_ffree;
  told->f_namemax = now.f_namelen;
  if (control != NULL && control[2] != 0) told->f_bfree = told->f_bavail = 0;
  return 0;
}

int statvfs(const char *path, struct statvfs *told) { return statvfs_it(path, told); }
int statvfs64(const char *path, struct statvfs64 *told) { return statvfs_it(path, (struct statvfs *)told); }

static ssize_t pwrite_it(int fd, const void *bytes, size_t count, off_t at) {
  size_t taken = count == 0 ? 0 : room(fd, count);
  if (taken == 0 && count > 0) return no_space();
  count = taken;
  note_old(fd, at, count);
  return syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite_it(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return pwrite_it(fd, bytes, count, at); }

static int cut_it(int fd, off_t length) {
  struct stat now;
  if (fstat(fd, &now) == 0 && length < now.st_size) note_old(fd, length, (size_t)(now.st_size - length));
  return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return cut_it(fd, length); }
int ftruncate64(int fd, off_t length) { return cut_it(fd, length); }

int rename(const char *from, const char *to) {
  char grave[PATH_MAX] = "-";
  if (ours(to)) bury(to, grave);
  /* Before it happens: killed in between, a rename not in the journal could not be undone, what led to it could. */
  if (ours(from) || ours(to)) note("R\t%s\t%s\t%s\n", from, to, grave);
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
  char grave[PATH_MAX] = "-";
  if (ours(path)) bury(path, grave);
  int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  if (result == 0 && ours(path)) note("U\t%s\t%s\n", path, grave);
  return result;
}

int link(const char *from, const char *to) {
  int result = (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (result == 0 && ours(to)) note("C\t%s\n", to);
  return result;
}

int mkdir(const char *path, mode_t mode) {
  int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  if (result == 0 && ours(path)) note("C\t%s\n", path);
  return result;
}
