/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/blobs.c - the state directory: a lock, and blobs under fixed names */
#include "supervisor/blobs.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/small_file.h"
#include "supervisor/capabilities.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COPY_CHUNK    (32u * 1024)
#define WORKER_STACK  (128u * 1024)
#define LOCK_NAME     "pillion.lock"
#define ALL_THE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static const char *const file_names[] = {
	[PRIVSEP_BLOB_STATE] = "tailscaled.state",
	[PRIVSEP_BLOB_CACHE] = "pillion.cache",
	[PRIVSEP_BLOB_AUTHORITY] = "pillion-authority.pem",
	[PRIVSEP_BLOB_ACME_PAUSES] = "pillion-acme.json",
	[PRIVSEP_BLOB_ACME_ACCOUNT] = "acme-account.key.pem",
	[PRIVSEP_BLOB_DOMAIN_CERTIFICATE] = ".crt",
	[PRIVSEP_BLOB_DOMAIN_KEY] = ".key",
};
_Static_assert(ARRAY_SIZE(file_names) == PRIVSEP_BLOB_COUNT, "a file a blob");

static const off_t size_limits[] = {
	[PRIVSEP_BLOB_STATE] = LIMIT_STATE_FILE,  [PRIVSEP_BLOB_CACHE] = PRIVSEP_BLOB_MAX,
	[PRIVSEP_BLOB_ACME_PAUSES] = 64u * 1024,  [PRIVSEP_BLOB_AUTHORITY] = 64u * 1024,
	[PRIVSEP_BLOB_ACME_ACCOUNT] = 64u * 1024, [PRIVSEP_BLOB_DOMAIN_CERTIFICATE] = 512u * 1024,
	[PRIVSEP_BLOB_DOMAIN_KEY] = 64u * 1024,
};
_Static_assert(ARRAY_SIZE(size_limits) == PRIVSEP_BLOB_COUNT, "a limit a blob");

#define CERTS_FOLDER "certs"

/* open_folder() - That of the blob's file, made if it is to be written; or negative errno */
static int open_folder(const struct blobs *blobs, enum privsep_blob_name name, bool make)
{
	int fd;

	if (name < PRIVSEP_BLOB_ACME_ACCOUNT)
		fd = fcntl(blobs->folder, F_DUPFD_CLOEXEC, 0);
	else if (make && mkdirat(blobs->folder, CERTS_FOLDER, 0700) < 0 && errno != EEXIST)
		fd = -1;
	else
		fd = openat(blobs->folder, CERTS_FOLDER,
			    O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* file_of() - In the official layout "*.name" is "wildcard_.name" */
static void file_of(enum privsep_blob_name name, const char *domain, char ret[static NAME_MAX + 1])
{
	bool wildcard = domain[0] == '*';

	snprintf(ret, NAME_MAX + 1, "%s%s%s", wildcard ? "wildcard_" : "", domain + wildcard,
		 file_names[name]);
}

static int copy_bytes(int from, int to)
{
	_cleanup_free_ char *chunk = malloc(COPY_CHUNK);
	off_t at = 0;
	ssize_t n = 0;
	int r = 0;

	if (!chunk)
		return -ENOMEM;
	while (r == 0 && (n = pread(from, chunk, COPY_CHUNK, at)) > 0) {
		r = write_all(to, chunk, (size_t)n);
		at += n;
	}
	if (n < 0)
		r = -errno;
	/* What a private key was copied through. */
	explicit_bzero(chunk, COPY_CHUNK);
	return r;
}

/* write_file() - A crash at any time leaves the old or the new file, whole */
static int write_file(int folder, const char *name, int memfd)
{
	_cleanup_close_ int fd = -1;
	char temporary[64];
	int r;

	/* One thread writes, one file after another. */
	snprintf(temporary, sizeof(temporary), ".%.56s.tmp", name);
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = copy_bytes(memfd, fd);
	if (r == 0 && (fsync(fd) < 0 || renameat(folder, temporary, folder, name) < 0))
		r = -errno;
	if (r < 0) {
		(void)unlinkat(folder, temporary, 0);
		return r;
	}
	return fsync(folder) < 0 ? -errno : 0;
}

static int write_job(const struct blobs *blobs, const struct blob_job *job)
{
	_cleanup_close_ int folder = open_folder(blobs, job->name, true);
	char file[NAME_MAX + 1];

	if (folder < 0)
		return folder;
	file_of(job->name, job->domain, file);
	return write_file(folder, file, job->memfd);
}

static void *worker(void *argument)
{
	struct blobs *blobs = argument;

	pthread_mutex_lock(&blobs->mutex);
	for (;;) {
		struct blob_job *job;
		int r;

		while (blobs->waiting == 0 && !blobs->end)
			pthread_cond_wait(&blobs->wake, &blobs->mutex);
		if (blobs->waiting == 0)
			break;
		job = &blobs->queue[(blobs->first + blobs->finished) % BLOBS_QUEUE_MAX];
		pthread_mutex_unlock(&blobs->mutex);
		/* The slot belongs to this thread until it is counted as finished. */
		r = write_job(blobs, job);
		pthread_mutex_lock(&blobs->mutex);
		close(job->memfd);
		job->memfd = -1;
		job->result = r;
		blobs->waiting--;
		blobs->finished++;
		(void)!write(blobs->done.fd, &(uint64_t){1}, sizeof(uint64_t));
		pthread_cond_broadcast(&blobs->wake);
	}
	pthread_mutex_unlock(&blobs->mutex);
	return NULL;
}

static void done_ready(struct loop_source *source, uint32_t events)
{
	struct blobs *blobs = container_of(source, struct blobs, done);
	uint64_t count;

	(void)events;
	(void)!read(source->fd, &count, sizeof(count));
	for (;;) {
		struct blob_job job;

		pthread_mutex_lock(&blobs->mutex);
		if (blobs->finished == 0) {
			pthread_mutex_unlock(&blobs->mutex);
			return;
		}
		job = blobs->queue[blobs->first];
		blobs->first = (blobs->first + 1) % BLOBS_QUEUE_MAX;
		blobs->finished--;
		pthread_mutex_unlock(&blobs->mutex);
		blobs->stored(blobs->userdata, &job);
	}
}

/* start_worker() - At the first store, since many processes never store */
static int start_worker(struct blobs *blobs)
{
	pthread_attr_t attributes;
	int r;

	if (blobs->thread_runs)
		return 0;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, WORKER_STACK);
	r = -pthread_create(&blobs->thread, &attributes, worker, blobs);
	pthread_attr_destroy(&attributes);
	blobs->thread_runs = r == 0;
	return r;
}

/* enqueue() - For the worker; takes job->memfd. 0, or negative errno and it was closed */
static int enqueue(struct blobs *blobs, struct blob_job *job)
{
	_cleanup_close_ int memfd = TAKE_FD(job->memfd);
	int r = start_worker(blobs);

	if (r < 0)
		return r;
	pthread_mutex_lock(&blobs->mutex);
	if (blobs->waiting + blobs->finished == BLOBS_QUEUE_MAX) {
		r = -EBUSY;
	} else {
		unsigned int at =
			(blobs->first + blobs->finished + blobs->waiting) % BLOBS_QUEUE_MAX;

		blobs->queue[at] = *job;
		blobs->queue[at].memfd = TAKE_FD(memfd);
		blobs->waiting++;
		pthread_cond_broadcast(&blobs->wake);
	}
	pthread_mutex_unlock(&blobs->mutex);
	return r;
}

static void turn_fire(struct loop_timer *timer, nanoseconds now);

int blobs_open(struct blobs *blobs, struct loop *loop, const char *state_dir, blobs_stored stored,
	       void *userdata, struct error *err)
{
	pthread_condattr_t attributes;
	int fd, r;

	*blobs = (struct blobs){
		.folder = -1,
		.loop = loop,
		.done = LOOP_SOURCE(done_ready),
		.stored = stored,
		.userdata = userdata,
		.clock = clock_boottime,
		.turn = LOOP_TIMER(turn_fire),
	};
	for (size_t i = 0; i < BLOBS_SLOTS; i++) {
		blobs->memory[i] = -1;
		blobs->late[i].memfd = -1;
		blobs->writes[i] = (struct quota){BLOBS_BURST, BLOBS_INTERVAL, 0};
	}
	pthread_mutex_init(&blobs->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&blobs->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	if (!state_dir)
		return 0;
	blobs->folder = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (blobs->folder < 0)
		return error_set_errno(err, -errno, "open the state directory %s", state_dir);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return error_set_errno(err, -errno, "make an eventfd");
	r = loop_add(loop, &blobs->done, fd, EPOLLIN);
	return r < 0 ? error_set_errno(err, r, "watch an eventfd") : 0;
}

void blobs_close(struct blobs *blobs, nanoseconds deadline)
{
	nanoseconds left = deadline - clock_boottime();
	struct timespec until;

	timer_cancel(blobs->loop, &blobs->turn);
	for (size_t i = 0; i < BLOBS_SLOTS; i++)
		if (blobs->late[i].memfd >= 0)
			(void)enqueue(blobs, &blobs->late[i]);
	clock_gettime(CLOCK_MONOTONIC, &until);
	left += until.tv_nsec + until.tv_sec * NSEC_PER_SEC;
	until = (struct timespec){.tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC};
	pthread_mutex_lock(&blobs->mutex);
	blobs->end = true;
	pthread_cond_broadcast(&blobs->wake);
	while (blobs->waiting > 0)
		if (pthread_cond_timedwait(&blobs->wake, &blobs->mutex, &until) != 0)
			break;
	pthread_mutex_unlock(&blobs->mutex);
	if (blobs->thread_runs && blobs->waiting == 0)
		pthread_join(blobs->thread, NULL);
	/* If the disk does not answer, the process ends while the thread still waits. */
	for (size_t i = 0; i < BLOBS_SLOTS; i++)
		cleanup_close_at(&blobs->memory[i]);
}

/* queued() - A duplicate of the newest blob that is not on disk yet; -1: none */
static int queued(struct blobs *blobs, unsigned int slot)
{
	int fd = -1;

	pthread_mutex_lock(&blobs->mutex);
	for (unsigned int i = blobs->waiting; i > 0 && fd < 0; i--) {
		const struct blob_job *job =
			&blobs->queue[(blobs->first + blobs->finished + i - 1) % BLOBS_QUEUE_MAX];

		if (job->slot == slot)
			fd = fcntl(job->memfd, F_DUPFD_CLOEXEC, 0);
	}
	pthread_mutex_unlock(&blobs->mutex);
	return fd;
}

/* is_empty() - Whether the file has no bytes; false if stat fails */
static bool is_empty(int folder, const char *name)
{
	struct stat st;

	return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 0;
}

/* find_remains() - A file with content that an earlier state left: a copy, or else the cache */
static int find_remains(int folder, char ret[static NAME_MAX + 1])
{
	const char *state = file_names[PRIVSEP_BLOB_STATE], *cache = file_names[PRIVSEP_BLOB_CACHE];
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	*ret = 0;
	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name + (entry->d_name[0] == '.');

		if ((strncmp(name, state, strlen(state)) == 0 || strcmp(name, cache) == 0) &&
		    !is_empty(folder, entry->d_name) && (!*ret || strcmp(ret, cache) == 0))
			snprintf(ret, NAME_MAX + 1, "%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	else
		cleanup_close_at(&copy);
	return *ret ? 0 : -ENOENT;
}

/* check_lost() - Whether an empty state was lost; a first start is 0 */
static int check_lost(const struct blobs *blobs, struct error *err)
{
	const char *name = file_names[PRIVSEP_BLOB_STATE];
	char remains[NAME_MAX + 1];

	if (!is_empty(blobs->folder, name) || find_remains(blobs->folder, remains) < 0)
		return 0;
	if (strcmp(remains, file_names[PRIVSEP_BLOB_CACHE]) == 0)
		return error_set(
			err, -ENODATA,
			"%s is empty, as after a loss of power, and %s shows that there was "
			"a node: restore a backup, or remove %s to start as a new node",
			name, remains, name);
	return error_set(
		err, -ENODATA,
		"%s is empty, as after a loss of power, but %s beside it is not: if that "
		"is a whole state, rename it to %s; else restore a backup, or remove %s to "
		"start as a new node",
		name, remains, name, name);
}

/* is_busy() - Whether a blob of the slot is not on disk yet */
static bool is_busy(struct blobs *blobs, unsigned int slot)
{
	int fd = blobs->late[slot].memfd >= 0 ? -1 : queued(blobs, slot);
	bool waits = fd >= 0;

	cleanup_close_at(&fd);
	return waits || blobs->late[slot].memfd >= 0;
}

/*
 * take_place() - That of a domain whose blobs are on disk; without a folder, of the one that has had its own longest
 *
 * Return: its index; BLOBS_DOMAINS_MAX: there is none
 */
static unsigned int take_place(struct blobs *blobs)
{
	for (unsigned int i = 0; i < BLOBS_DOMAINS_MAX; i++) {
		unsigned int at = (blobs->next_domain + i) % BLOBS_DOMAINS_MAX;
		unsigned int slot = PRIVSEP_BLOB_DOMAIN + 2 * at;

		if (is_busy(blobs, slot) || is_busy(blobs, slot + 1))
			continue;
		for (unsigned int s = slot; s < slot + 2; s++) {
			cleanup_close_at(&blobs->memory[s]);
			blobs->memory[s] = -1;
		}
		blobs->next_domain = at + 1;
		return at;
	}
	return BLOBS_DOMAINS_MAX;
}

/* slot_of() - Of a blob; BLOBS_SLOTS: its domain has none yet, and with @make there is no room */
static unsigned int slot_of(struct blobs *blobs, enum privsep_blob_name name, const char *domain,
			    bool make)
{
	unsigned int free_one = BLOBS_DOMAINS_MAX, i;

	if (name < PRIVSEP_BLOB_DOMAIN)
		return name;
	for (i = 0; i < BLOBS_DOMAINS_MAX; i++) {
		if (strcmp(blobs->domains[i], domain) == 0)
			break;
		if (!blobs->domains[i][0] && free_one == BLOBS_DOMAINS_MAX)
			free_one = i;
	}
	if (i == BLOBS_DOMAINS_MAX && make && free_one == BLOBS_DOMAINS_MAX)
		free_one = take_place(blobs);
	if (i == BLOBS_DOMAINS_MAX && make && free_one < BLOBS_DOMAINS_MAX) {
		i = free_one;
		snprintf(blobs->domains[i], PRIVSEP_DOMAIN_MAX, "%s", domain);
	}
	return i == BLOBS_DOMAINS_MAX ? BLOBS_SLOTS
				      : PRIVSEP_BLOB_DOMAIN + 2 * i + (name - PRIVSEP_BLOB_DOMAIN);
}

/* load_file() - A descriptor or negative errno */
static int load_file(const struct blobs *blobs, enum privsep_blob_name name, const char *domain)
{
	_cleanup_close_ int folder = open_folder(blobs, name, false);
	char file[NAME_MAX + 1];
	int fd;

	if (folder < 0)
		return folder;
	file_of(name, domain, file);
	fd = openat(folder, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int blobs_load(struct blobs *blobs, enum privsep_blob_name name, const char *domain,
	       struct error *err)
{
	unsigned int slot = slot_of(blobs, name, domain, false);
	int fd = slot < BLOBS_SLOTS ? blobs->late[slot].memfd : -1;

	if (fd < 0 && blobs->folder < 0) {
		if (slot == BLOBS_SLOTS || blobs->memory[slot] < 0)
			return -ENOENT;
		fd = blobs->memory[slot];
	}
	if (fd >= 0) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	fd = queued(blobs, slot);
	if (fd >= 0)
		return fd;
	if (name == PRIVSEP_BLOB_STATE && check_lost(blobs, err) < 0)
		return -ENODATA;
	return load_file(blobs, name, domain);
}

/* answer() - Answer a job that the worker did not get */
static void answer(struct blobs *blobs, struct blob_job *job, int result)
{
	job->result = result;
	blobs->stored(blobs->userdata, job);
}

/* delay() - Keep a job until its turn; it overtakes the job that waited */
static void delay(struct blobs *blobs, struct blob_job *job, nanoseconds now)
{
	struct blob_job overtaken = blobs->late[job->slot];

	blobs->late[job->slot] = *job;
	if (blobs->turn.at == 0)
		timer_arm(blobs->loop, &blobs->turn,
			  now + quota_wait(&blobs->writes[job->slot], now));
	if (overtaken.memfd < 0)
		return;
	cleanup_close_at(&overtaken.memfd);
	answer(blobs, &overtaken, -ECANCELED);
}

static void turn_fire(struct loop_timer *timer, nanoseconds now)
{
	struct blobs *blobs = container_of(timer, struct blobs, turn);
	nanoseconds next = DEADLINE_NEVER;

	for (size_t i = 0; i < BLOBS_SLOTS; i++) {
		struct blob_job job = blobs->late[i];
		int r;

		if (job.memfd < 0)
			continue;
		if (!quota_take(&blobs->writes[i], now)) {
			next = deadline_min(next, now + quota_wait(&blobs->writes[i], now));
			continue;
		}
		blobs->late[i].memfd = -1;
		r = enqueue(blobs, &job);
		if (r < 0)
			answer(blobs, &job, r);
	}
	if (next != DEADLINE_NEVER)
		timer_arm(blobs->loop, timer, next);
}

int blobs_store(struct blobs *blobs, const struct blob_job *job)
{
	_cleanup_close_ int memfd = job->memfd;
	int seals = fcntl(memfd, F_GET_SEALS);
	struct blob_job kept = *job;
	nanoseconds now = blobs->clock();
	struct stat st;

	/* Sealed, so that the content can't change during the copy. */
	if (seals < 0 || (seals & ALL_THE_SEALS) != ALL_THE_SEALS)
		return -EPERM;
	if (fstat(memfd, &st) < 0)
		return -errno;
	if (st.st_size > size_limits[job->name])
		return -EMSGSIZE;
	kept.slot = slot_of(blobs, job->name, job->domain, true);
	if (kept.slot == BLOBS_SLOTS)
		return -ENOSPC;
	if (blobs->folder < 0) {
		cleanup_close_at(&blobs->memory[kept.slot]);
		blobs->memory[kept.slot] = TAKE_FD(memfd);
		blobs->stored(blobs->userdata, &kept);
		return 0;
	}
	TAKE_FD(memfd);
	if (blobs->late[kept.slot].memfd < 0 && quota_take(&blobs->writes[kept.slot], now))
		return enqueue(blobs, &kept);
	delay(blobs, &kept, now);
	return 0;
}

bool blobs_need_dac(const char *state_dir)
{
	const struct {
		const char *name;
		int mode;
	} rows[] = {
		{file_names[PRIVSEP_BLOB_STATE], R_OK},
		{file_names[PRIVSEP_BLOB_CACHE], R_OK},
		{LOCK_NAME, R_OK},
		{CERTS_FOLDER, R_OK | W_OK | X_OK},
	};
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (snprintf(path, sizeof(path), "%s/%s", state_dir, rows[i].name) <
			    (int)sizeof(path) &&
		    capabilities_dac_needed(path, rows[i].mode))
			return true;
	return false;
}

bool blobs_have_state(const char *state_dir)
{
	char path[PATH_MAX];
	struct stat st;

	return snprintf(path, sizeof(path), "%s/%s", state_dir, file_names[PRIVSEP_BLOB_STATE]) <
		       (int)sizeof(path) &&
	       stat(path, &st) == 0 && st.st_size > 0;
}

/* try_lock() - Open @path with @flags and lock it; a descriptor or negative errno */
static int try_lock(const char *path, int flags)
{
	_cleanup_close_ int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int blobs_lock(const char *state_dir, struct error *err)
{
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/" LOCK_NAME, state_dir) >= (int)sizeof(path))
		return error_set(err, -ENAMETOOLONG,
				 "the path of the state directory %s is too "
				 "long",
				 state_dir);
	r = try_lock(path, O_RDONLY | O_CREAT);
	if (r == -EBADF) /* NFS locks only what is open for writing */
		r = try_lock(path, O_RDWR);
	else if (r == -EROFS || r == -EACCES || r == -ENOSPC || r == -EDQUOT)
		r = try_lock(state_dir, O_RDONLY | O_DIRECTORY);
	if (r == -EWOULDBLOCK)
		return error_set(err, r,
				 "the state directory %s is in use by another process: two "
				 "nodes can't share one state; stop the other, or give this "
				 "one a directory of its own (--statedir, TS_STATE_DIR)",
				 state_dir);
	if (r < 0)
		error_set(err, r,
			  "the state directory %s can't be locked (%s): see to it that no other "
			  "node uses it",
			  state_dir, strerror(-r));
	return r;
}
