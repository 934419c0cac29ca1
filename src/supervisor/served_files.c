/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/served_files.c - files and Unix sockets that the services process may have */
#include "supervisor/served_files.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "privsep/records.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define WORKER_STACK (256u * 1024)
#define OPEN_TRIES   8 /* openat2 gives up when a rename happens at the same time */
#define INDEX_NAME   "/index.html"

struct served_job {
	STAILQ_ENTRY(served_job) next;
	unsigned int process;
	uint32_t id;
	bool is_socket;
	int result;
	char text[PRIVSEP_TEXT_MAX];
	char path[SERVE_WISH_PATH_MAX];
	char name[];
};

/* --- What may be opened --- */

/* kernel_has_openat2() - Unless PILLION_DISABLE names it, for tests */
static bool kernel_has_openat2(const struct files *named)
{
	const char *disable = named->options->start.disable;

	return !disable || !strstr(disable, "openat2");
}

/* open_beneath() - @path below @root, as a place only (O_PATH); descriptor or negative errno */
static int open_beneath(int root, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = -1;

	for (int left = OPEN_TRIES; left > 0; left--) {
		fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	if (fd >= 0)
		return fd;
	/* A seccomp filter that does not know the call answers with EPERM. */
	return errno == EXDEV || errno == ELOOP ? -EACCES : errno == EPERM ? -ENOSYS : -errno;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* is_secret() - Whether @st is a file that the node itself reads secrets from, or its socket */
static bool is_secret(const struct files *named, const struct stat *st)
{
	const char *const files[] = {named->options->auth_key_file,
				     named->options->certificate_key,
				     named->options->socket_path,
				     named->options->socket_link,
				     files_secret_path(named->acme_eab_hmac),
				     files_secret_path(named->acme_dns_key)};
	struct stat other;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (files[i] && stat(files[i], &other) == 0 && same_file(&other, st))
			return true;
	return false;
}

/* is_kernels() - Whether @fd is on a file system of the kernel itself */
static bool is_kernels(int fd)
{
	static const unsigned long types[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC,      DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
		TRACEFS_MAGIC,    SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		BPF_FS_MAGIC,     NSFS_MAGIC,       BINFMTFS_MAGIC,     SELINUX_MAGIC,
		EFIVARFS_MAGIC,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((unsigned long)fs.f_type == types[i])
			return true;
	return false;
}

/*
 * is_in_state() - Whether a folder that holds @path, or @path itself, is the state directory, or
 * the folder of keys in it, which may be mounted elsewhere by itself
 */
static bool is_in_state(const struct files *named, char *path)
{
	struct stat state, certs = {0}, st;
	char folder[PATH_MAX], *end = path + strlen(path);

	if (!named->options->state_dir || stat(named->options->state_dir, &state) < 0)
		return false;
	snprintf(folder, sizeof(folder), "%s/certs", named->options->state_dir);
	(void)stat(folder, &certs);
	for (; end > path; end = strrchr(path, '/')) {
		*end = 0;
		if (*path && stat(path, &st) == 0 &&
		    (same_file(&st, &state) || same_file(&st, &certs)))
			return true;
	}
	return false;
}

static bool is_below(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	return strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

/* check_place() - Refuse what is never served, however a path leads there */
static int check_place(const struct files *named, int fd, const struct stat *st)
{
	static const char *const never[] = {"/proc", "/sys", "/dev"};
	char link[64], path[PATH_MAX + 1];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0 || n >= PATH_MAX || *path != '/')
		return -EACCES;
	path[n] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (is_below(path, never[i]))
			return -EACCES;
	return is_kernels(fd) || is_secret(named, st) || is_in_state(named, path) ? -EACCES : 0;
}

/*
 * find() - A place below a root; descriptor (O_PATH) or negative errno
 *
 * -EPERM: no root holds it
 */
static int find(const struct files *named, const char *path, struct stat *ret)
{
	const char *root;
	char folder[SERVED_PATH_MAX];
	_cleanup_close_ int base = -1, fd = -1;
	size_t length;
	int r;

	*ret = (struct stat){0};
	root = serve_root(named->options->start.serve_roots, path, &length);
	if (!root)
		return -EPERM;
	if (!kernel_has_openat2(named))
		return -ENOSYS;
	if (length >= sizeof(folder))
		return -ENAMETOOLONG;
	snprintf(folder, sizeof(folder), "%.*s", (int)length, root);
	base = open(*folder ? folder : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return -errno;
	path += length;
	path += strspn(path, "/");
	fd = open_beneath(base, path);
	if (fd < 0)
		return fd;
	if (fstat(fd, ret) < 0)
		return -errno;
	r = check_place(named, fd, ret);
	return r < 0 ? r : TAKE_FD(fd);
}

/* --- Opening --- */

/* reopen() - What an O_PATH descriptor names, for reading */
static int reopen(int place)
{
	char link[64];
	int fd;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
	fd = open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static bool is_folder(int folder, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* list() - The names in @folder, which is consumed, as a memfd */
static int list(int folder, const struct stat *st)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(PRIVSEP_FOLDER_MAX);
	struct privsep_folder head = {.modified = st->st_mtim.tv_sec};
	DIR *stream = fdopendir(folder);
	const struct dirent *entry;
	int r;

	if (!stream) {
		r = -errno;
		close(folder);
		return r;
	}
	r = buffer_append(&out, &head, sizeof(head));
	while (r == 0 && (entry = readdir(stream))) {
		const char *name = entry->d_name;
		size_t mark = out.length;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		r = buffer_append(&out, name, strlen(name));
		if (r == 0 && is_folder(dirfd(stream), entry))
			r = buffer_append(&out, "/", 1);
		if (r == 0)
			r = buffer_append(&out, "", 1);
		head.count += r == 0;
		if (r == -EMSGSIZE) {
			head.cut = 1;
			out.length = mark;
			break;
		}
	}
	closedir(stream);
	if (r < 0 && !head.cut)
		return r;
	memcpy(buffer_head(&out), &head, sizeof(head));
	return memfd_seal("pillion-folder", buffer_head(&out), out.length);
}

static int open_folder(const struct files *named, const char *path, int place,
		       const struct stat *st, char text[static PRIVSEP_TEXT_MAX])
{
	char index[SERVED_PATH_MAX + sizeof(INDEX_NAME)];
	_cleanup_close_ int found = -1;
	struct stat its;
	int fd;

	snprintf(index, sizeof(index), "%s" INDEX_NAME, strcmp(path, "/") == 0 ? "" : path);
	found = find(named, index, &its);
	if (found >= 0 && S_ISREG(its.st_mode)) {
		fd = reopen(found);
		if (fd >= 0) {
			snprintf(text, PRIVSEP_TEXT_MAX, PRIVSEP_OPENED_INDEX);
			return fd;
		}
	}
	fd = reopen(place);
	snprintf(text, PRIVSEP_TEXT_MAX, PRIVSEP_OPENED_FOLDER);
	return fd < 0 ? fd : list(fd, st);
}

/* connect_to() - A socket that is connected, or waits to be */
static int connect_to(int place, const struct stat *st)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (!S_ISSOCK(st->st_mode))
		return -ENOTSOCK;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", place);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* open_or_connect() - @name below @path for reading; or NULL: @path is a socket to connect to */
static int open_or_connect(const struct files *named, const char *path, const char *name,
			   char text[static PRIVSEP_TEXT_MAX])
{
	char whole[SERVED_PATH_MAX];
	_cleanup_close_ int place = -1;
	struct stat st;

	if (snprintf(whole, sizeof(whole), "%s%s%s", path,
		     name && *name && strcmp(path, "/") != 0 ? "/" : "",
		     name && *name ? name : "") >= (int)sizeof(whole))
		return -ENAMETOOLONG;
	place = find(named, whole, &st);
	if (place < 0)
		return place;
	if (!name)
		return connect_to(place, &st);
	if (S_ISDIR(st.st_mode))
		return open_folder(named, whole, place, &st, text);
	if (!S_ISREG(st.st_mode))
		return -EACCES; /* a device or FIFO is not even opened */
	snprintf(text, PRIVSEP_TEXT_MAX, PRIVSEP_OPENED_FILE);
	return reopen(place);
}

/* --- The worker --- */

static void work(struct served_files *files, struct served_job *job)
{
	int fd = open_or_connect(files->named, job->path, job->is_socket ? NULL : job->name,
				 job->text);

	job->result = fd;
	if (fd == -EPERM)
		snprintf(job->text, sizeof(job->text),
			 "%.300s is outside of the folders that may be served (--serve-root)",
			 job->path);
	else if (fd == -ENOSYS)
		snprintf(job->text, sizeof(job->text),
			 "the kernel, or a seccomp profile, lacks openat2 (Linux 5.6): files and "
			 "Unix sockets can't be served");
	else if (fd < 0)
		snprintf(job->text, sizeof(job->text), "%s", strerror(-fd));
}

static void *worker(void *argument)
{
	struct served_files *files = argument;

	pthread_mutex_lock(&files->mutex);
	for (;;) {
		struct served_job *job;

		while (!(job = STAILQ_FIRST(&files->waiting)))
			pthread_cond_wait(&files->wake, &files->mutex);
		STAILQ_REMOVE_HEAD(&files->waiting, next);
		pthread_mutex_unlock(&files->mutex);
		if (job->process == 0) { /* the end */
			free(job);
			return NULL;
		}
		work(files, job);
		pthread_mutex_lock(&files->mutex);
		STAILQ_INSERT_TAIL(&files->finished, job, next);
		(void)!write(files->ready.fd, &(uint64_t){1}, sizeof(uint64_t));
	}
}

static void on_ready(struct loop_source *source, uint32_t events)
{
	struct served_files *files = container_of(source, struct served_files, ready);
	struct served_job *job;
	uint64_t count;

	(void)events;
	(void)!read(source->fd, &count, sizeof(count));
	for (;;) {
		pthread_mutex_lock(&files->mutex);
		job = STAILQ_FIRST(&files->finished);
		if (job) {
			STAILQ_REMOVE_HEAD(&files->finished, next);
			files->jobs--;
		}
		pthread_mutex_unlock(&files->mutex);
		if (!job)
			return;
		files->done(files->userdata, job->process, job->id, job->result, job->text);
		free(job);
	}
}

static int start_worker(struct served_files *files)
{
	pthread_attr_t attributes;
	int r;

	if (files->thread_runs)
		return 0;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, WORKER_STACK);
	r = -pthread_create(&files->thread, &attributes, worker, files);
	pthread_attr_destroy(&attributes);
	files->thread_runs = r == 0;
	return r;
}

static void put(struct served_files *files, struct served_job *job)
{
	pthread_mutex_lock(&files->mutex);
	STAILQ_INSERT_TAIL(&files->waiting, job, next);
	files->jobs++;
	pthread_cond_signal(&files->wake);
	pthread_mutex_unlock(&files->mutex);
}

int served_files_ask(struct served_files *files, unsigned int process, uint32_t id,
		     const char *path, const char *name)
{
	size_t length = name ? strlen(name) : 0;
	struct served_job *job;
	int r = start_worker(files);

	if (r < 0)
		return r;
	if (files->jobs >= SERVED_JOBS_MAX)
		return -EAGAIN;
	job = calloc(1, sizeof(*job) + length + 1);
	if (!job)
		return -ENOMEM;
	job->process = process;
	job->id = id;
	job->is_socket = !name;
	snprintf(job->path, sizeof(job->path), "%s", path);
	if (name)
		memcpy(job->name, name, length);
	put(files, job);
	return 0;
}

int served_files_open(struct served_files *files, struct loop *loop, const struct files *named,
		      served_done done, void *userdata)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	*files = (struct served_files){
		.named = named,
		.loop = loop,
		.ready = LOOP_SOURCE(on_ready),
		.done = done,
		.userdata = userdata,
	};
	STAILQ_INIT(&files->waiting);
	STAILQ_INIT(&files->finished);
	pthread_mutex_init(&files->mutex, NULL);
	pthread_cond_init(&files->wake, NULL);
	return fd < 0 ? -errno : loop_add(loop, &files->ready, fd, EPOLLIN);
}

void served_files_close(struct served_files *files)
{
	struct served_job *job, *end;
	bool busy;

	if (!files->thread_runs)
		return;
	pthread_mutex_lock(&files->mutex);
	while ((job = STAILQ_FIRST(&files->waiting))) {
		STAILQ_REMOVE_HEAD(&files->waiting, next);
		files->jobs--;
		free(job);
	}
	busy = files->jobs > 0;
	pthread_mutex_unlock(&files->mutex);
	end = busy ? NULL : calloc(1, sizeof(*end) + 1);
	if (!end)
		return; /* a file system does not answer: the process ends while the thread waits */
	put(files, end);
	pthread_join(files->thread, NULL);
	files->thread_runs = false;
}
