/* SPDX-License-Identifier: BSD-3-Clause */
/* server/web/certificate_files.c - a certificate and its key in files that are renewed */
#define LOG_ROOM "tls"
#include "server/web/certificate_files.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_EVERY (5 * NSEC_PER_SEC)

enum { CERTIFICATE, KEY, COUNT };

/* A change here shows that files were replaced; all zero where they can't be opened. */
struct look {
	dev_t device[COUNT];
	ino_t inode[COUNT];
	off_t size[COUNT];
	struct timespec modified[COUNT];
};

struct certificate_files {
	char *paths[COUNT];
	struct tls_context *context;
	struct loop_timer *timer;
	struct look used;    /* of the files in the context */
	struct look refused; /* of files that could not be used */
	bool waiting;        /* `refused` was seen once, and is not logged yet */
};

/* take() - Note a file's look, and append its text to @out unless NULL */
static int take(const char *path, struct look *look, int which, struct buffer *out,
		struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t length = 1;
	struct stat st = {0};
	int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

	if (r == 0 && !S_ISREG(st.st_mode))
		r = -EINVAL;
	if (r == 0) {
		look->device[which] = st.st_dev;
		look->inode[which] = st.st_ino;
		look->size[which] = st.st_size;
		look->modified[which] = st.st_mtim;
	}
	while (r == 0 && out && length > 0 && (r = buffer_reserve(out, 4096)) == 0) {
		length = read(fd, buffer_end(out), 4096);
		if (length < 0)
			r = -errno;
		else
			out->length += (size_t)length;
	}
	return r < 0 ? error_set_errno(err, r, "read %s", path) : 0;
}

static int load(struct certificate_files *f, struct look *ret, struct error *err)
{
	struct buffer text[COUNT] = {BUFFER_INIT(LIMIT_CA_BUNDLE), BUFFER_INIT(LIMIT_CA_BUNDLE)};
	struct look look = {0};
	int r = 0;

	for (int i = 0; r == 0 && i < COUNT; i++)
		r = take(f->paths[i], &look, i, &text[i], err);
	if (r == 0) {
		r = tls_server_context_set(&f->context, (char *)buffer_head(&text[CERTIFICATE]),
					   text[CERTIFICATE].length,
					   (char *)buffer_head(&text[KEY]), text[KEY].length, err);
		if (r < 0)
			error_wrap(err, "%s, %s", f->paths[CERTIFICATE], f->paths[KEY]);
	}
	buffer_free(&text[CERTIFICATE]);
	buffer_free_secret(&text[KEY]);
	*ret = look;
	return r;
}

/* By fields: padding has no defined value. */
static bool same(const struct look *a, const struct look *b)
{
	for (int i = 0; i < COUNT; i++)
		if (a->device[i] != b->device[i] || a->inode[i] != b->inode[i] ||
		    a->size[i] != b->size[i] || a->modified[i].tv_sec != b->modified[i].tv_sec ||
		    a->modified[i].tv_nsec != b->modified[i].tv_nsec)
			return false;
	return true;
}

/* refuse() - Keep the old certificate; logged if @look is unchanged since the last time, or @insist */
static void refuse(struct certificate_files *f, const struct look *look, bool insist,
		   const struct error *err)
{
	bool again = same(look, &f->refused);

	if (insist || (again && f->waiting)) {
		log_error("the new certificate is not used, the old one stays in use: %s",
			  err->text);
		f->waiting = false;
	} else if (!again) {
		f->waiting = true;
	}
	f->refused = *look;
}

static void check(struct certificate_files *f, bool insist)
{
	struct look look = {0};
	struct error err;
	int r = 0;

	for (int i = 0; i < COUNT; i++)
		(void)take(f->paths[i], &look, i, NULL, NULL);
	if (same(&look, &f->used) && !insist) {
		f->waiting = false;
		return;
	}
	if (same(&look, &f->refused) && !f->waiting && !insist)
		return;
	r = load(f, &look, &err);
	if (r < 0) {
		refuse(f, &look, insist, &err);
		return;
	}
	f->used = look;
	f->waiting = false;
	f->refused = (struct look){0};
	log_info("using the new certificate: file=%s", f->paths[CERTIFICATE]);
}

static void on_timer(void *user)
{
	struct certificate_files *f = user;

	check(f, false);
	loop_timer_at(f->timer, clock_boottime() + LOOK_EVERY);
}

int certificate_files_open(uv_loop_t *loop, const char *certificate, const char *key,
			   struct certificate_files **ret, struct error *err)
{
	struct certificate_files *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	f->paths[CERTIFICATE] = strdup(certificate);
	f->paths[KEY] = strdup(key);
	if (!f->paths[CERTIFICATE] || !f->paths[KEY] ||
	    loop_timer_create(loop, on_timer, f, &f->timer) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	else
		r = load(f, &f->used, err);
	if (r < 0) {
		certificate_files_free(f);
		return r;
	}
	loop_timer_at(f->timer, clock_boottime() + LOOK_EVERY);
	*ret = f;
	return 0;
}

void certificate_files_free(struct certificate_files *f)
{
	if (!f)
		return;
	loop_timer_free(f->timer);
	tls_context_release(f->context);
	free(f->paths[CERTIFICATE]);
	free(f->paths[KEY]);
	free(f);
}

struct tls_context *certificate_files_context(const struct certificate_files *f)
{
	return f->context;
}

void certificate_files_check(struct certificate_files *f)
{
	check(f, true);
}
