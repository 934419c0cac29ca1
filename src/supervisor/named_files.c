/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/named_files.c - the files that an engine may request by name, and their changes */
#include "supervisor/named_files.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/small_file.h"
#include "privsep/records.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

#define AUTH_KEY_MAX 4096u
#define CA_FILES_MAX 1024u
#define WATCH_FOLDER                                                                        \
	(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF)
#define WATCH_FILE (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

/* The bundles of distributions. */
static const char *const ca_bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
};

static const char *system_bundle(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(ca_bundles); i++)
		if (access(ca_bundles[i], R_OK) == 0)
			return ca_bundles[i];
	return ca_bundles[0];
}

const char *files_secret_path(const char *secret)
{
	const size_t prefix = strlen(SUPERVISOR_FILE_PREFIX);

	return secret && strncmp(secret, SUPERVISOR_FILE_PREFIX, prefix) == 0 ? secret + prefix
									      : NULL;
}

/* path_of() - The path of a name that is one file, or NULL */
static const char *path_of(const struct files *files, enum privsep_file_name name)
{
	const struct supervisor_options *options = files->options;

	switch (name) {
	case PRIVSEP_FILE_RESOLV_CONF:
		return "/etc/resolv.conf";
	case PRIVSEP_FILE_HOSTS:
		return "/etc/hosts";
	case PRIVSEP_FILE_PASSWD:
		return "/etc/passwd";
	case PRIVSEP_FILE_CA_SYSTEM:
		return options->ssl_cert_file && options->ssl_cert_dir ? NULL : system_bundle();
	case PRIVSEP_FILE_CA_FILE:
		return options->ca_file ? options->ca_file : options->ssl_cert_file;
	case PRIVSEP_FILE_AUTH_KEY:
		return options->auth_key_file;
	case PRIVSEP_FILE_SERVE_CONFIG:
		return options->serve_config;
	case PRIVSEP_FILE_CERTIFICATE:
		return options->certificate;
	case PRIVSEP_FILE_CERTIFICATE_KEY:
		return options->certificate_key;
	case PRIVSEP_FILE_ACME_EAB:
		return files_secret_path(files->acme_eab_hmac);
	case PRIVSEP_FILE_DNS_KEY:
		return files_secret_path(files->acme_dns_key);
	case PRIVSEP_FILE_CA_DIRECTORY:
	case PRIVSEP_FILE_COUNT:
		break;
	}
	return NULL;
}

/* O_NONBLOCK: a FIFO in place of a file must not block PID 1. */
static int open_regular(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		return TAKE_FD(fd);
	return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
}

/* secret() - @given or what is in the file, without surrounding white space, in a memfd */
static int secret(const char *given, const char *path)
{
	_cleanup_(buffer_free_secret) struct buffer text = BUFFER_INIT(AUTH_KEY_MAX);
	_cleanup_close_ int fd = -1;
	const uint8_t *at;
	size_t length;
	int r;

	if (!path)
		return given ? memfd_seal("pillion-secret", given, strlen(given)) : -ENOENT;
	fd = open_regular(path);
	if (fd < 0)
		return fd;
	r = file_read(fd, AUTH_KEY_MAX, &text);
	if (r < 0)
		return r;
	at = buffer_head(&text);
	length = text.length;
	while (length > 0 && isspace(*at))
		at++, length--;
	while (length > 0 && isspace(at[length - 1]))
		length--;
	return length == 0 ? -ENODATA : memfd_seal("pillion-secret", at, length);
}

/* next_folder() - The next of a list separated by ':', into @ret; false at its end */
static bool next_folder(const char **folders, char ret[static PATH_MAX])
{
	size_t length = strcspn(*folders, ":");

	if (!**folders)
		return false;
	snprintf(ret, PATH_MAX, "%.*s", (int)length, *folders);
	*folders += length + ((*folders)[length] == ':');
	return true;
}

/* for_each_ca() - Visit the files of SSL_CERT_DIR, a list of folders separated by ':' */
static int for_each_ca(const struct supervisor_options *options,
		       int (*visit)(void *context, const char *path), void *context)
{
	char folder[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
	const char *folders = options->ssl_cert_dir;
	unsigned int count = 0;
	int r = 0;

	if (!folders)
		return -ENOENT;
	while (r == 0 && next_folder(&folders, folder)) {
		struct dirent *entry;
		DIR *dir = opendir(folder);

		if (!dir)
			continue; /* as Go's crypto/x509 does */
		while (r == 0 && count < CA_FILES_MAX && (entry = readdir(dir))) {
			if (entry->d_name[0] == '.')
				continue;
			count++;
			snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
			r = visit(context, path);
		}
		closedir(dir);
	}
	return r;
}

static int join_ca(void *context, const char *path)
{
	struct buffer *all = context;
	_cleanup_close_ int fd = open_regular(path);
	int r;

	if (fd < 0)
		return 0;
	r = file_read(fd, LIMIT_CA_BUNDLE, all);
	if (r < 0)
		return r;
	/* Each file starts on a new line. */
	return buffer_append(all, "\n", 1);
}

static int joined_ca(const struct supervisor_options *options)
{
	_cleanup_(buffer_free) struct buffer all = BUFFER_INIT(LIMIT_CA_BUNDLE);
	int r = for_each_ca(options, join_ca, &all);

	if (r < 0)
		return r;
	return all.length == 0 ? -ENOENT : memfd_seal("pillion-ca", buffer_head(&all), all.length);
}

static int open_named(const struct files *files, enum privsep_file_name name)
{
	const char *path = path_of(files, name), *text = files->options->serve_config_text;

	if (name == PRIVSEP_FILE_SERVE_CONFIG && text)
		return memfd_seal("pillion-serve", text, strlen(text));
	if (name == PRIVSEP_FILE_AUTH_KEY)
		return secret(files->auth_key, files->auth_key ? NULL : path);
	if (name == PRIVSEP_FILE_ACME_EAB)
		return secret(files->acme_eab_hmac, path);
	if (name == PRIVSEP_FILE_DNS_KEY)
		return secret(files->acme_dns_key, path);
	if (name == PRIVSEP_FILE_CA_DIRECTORY)
		return joined_ca(files->options);
	return path ? open_regular(path) : -ENOENT;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15) + (hash >> 29);
}

/* mix_identity() - Mix the identity of a version of a file into *@context */
static int mix_identity(void *context, const char *path)
{
	uint64_t *hash = context;
	struct stat st;

	if (stat(path, &st) < 0)
		return 0;
	*hash = mix(*hash, st.st_dev);
	*hash = mix(*hash, st.st_ino);
	*hash = mix(*hash, (uint64_t)st.st_size);
	*hash = mix(*hash, (uint64_t)st.st_mtim.tv_sec);
	*hash = mix(*hash, (uint64_t)st.st_mtim.tv_nsec);
	*hash = mix(*hash, (uint64_t)st.st_ctim.tv_sec);
	*hash = mix(*hash, (uint64_t)st.st_ctim.tv_nsec);
	return 0;
}

static uint64_t identity_of(const struct files *files, enum privsep_file_name name)
{
	uint64_t hash = 0;
	const char *path;

	if (name == PRIVSEP_FILE_CA_DIRECTORY) {
		(void)for_each_ca(files->options, mix_identity, &hash);
		return hash;
	}
	path = path_of(files, name);
	if (path)
		(void)mix_identity(&hash, path);
	return hash;
}

static void inotify_ready(struct loop_source *source, uint32_t events);
static void look(struct loop_timer *timer, nanoseconds now);

int files_open(struct files *files, struct loop *loop, const struct supervisor_options *options,
	       const char *auth_key_text, files_changed changed, void *userdata)
{
	int fd;

	*files = (struct files){
		.options = options,
		.auth_key = auth_key_text,
		.loop = loop,
		.inotify = LOOP_SOURCE(inotify_ready),
		.look = LOOP_TIMER(look),
		.changed = changed,
		.userdata = userdata,
	};
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0) {
		files->blind = true;
		return 0;
	}
	return loop_add(loop, &files->inotify, fd, EPOLLIN);
}

void files_close(struct files *files)
{
	int fd = files->inotify.fd;

	timer_cancel(files->loop, &files->look);
	loop_remove(files->loop, &files->inotify);
	cleanup_close_at(&fd);
}

static void watch(struct files *files, const char *path, uint32_t mask)
{
	if (files->inotify.fd < 0 || inotify_add_watch(files->inotify.fd, path, mask) >= 0)
		return;
	/* The folder shows when a missing file appears; nothing shows a missing folder. */
	if (errno != ENOENT || mask == WATCH_FOLDER)
		files->blind = true;
}

static void watch_path(struct files *files, const char *path)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return;
	watch(files, dirname(copy), WATCH_FOLDER);
	watch(files, path, WATCH_FILE);
}

/* watch_named() - Called again after each look, since a replaced file has another inode */
static void watch_named(struct files *files, enum privsep_file_name name)
{
	const char *path = path_of(files, name);

	if (path) {
		watch_path(files, path);
	} else if (name == PRIVSEP_FILE_CA_DIRECTORY && files->options->ssl_cert_dir) {
		const char *folders = files->options->ssl_cert_dir;
		char folder[PATH_MAX];

		while (next_folder(&folders, folder))
			watch(files, folder, WATCH_FOLDER);
	}
}

static void look(struct loop_timer *timer, nanoseconds now)
{
	struct files *files = container_of(timer, struct files, look);

	for (unsigned int i = 0; i < PRIVSEP_FILE_COUNT; i++) {
		enum privsep_file_name name = (enum privsep_file_name)i;
		uint64_t identity;

		if (!files->file[i].wanted)
			continue;
		watch_named(files, name);
		identity = identity_of(files, name);
		if (identity == files->file[i].identity)
			continue;
		files->file[i].identity = identity;
		files->changed(files->userdata, name, open_named(files, name));
	}
	if (files->blind)
		timer_arm(files->loop, timer, now + FILES_POLL);
}

static void inotify_ready(struct loop_source *source, uint32_t events)
{
	struct files *files = container_of(source, struct files, inotify);
	nanoseconds at = clock_boottime() + FILES_DEBOUNCE;
	char buffer[4096] __attribute__((aligned(8)));

	(void)events;
	while (read(source->fd, buffer, sizeof(buffer)) > 0)
		; /* an event is only a hint to look */
	if (files->look.at == 0 || files->look.at > at)
		timer_arm(files->loop, &files->look, at);
}

int files_get(struct files *files, enum privsep_file_name name)
{
	/* Watched before it is read, so that no change is missed. */
	if (!files->file[name].wanted)
		watch_named(files, name);
	files->file[name].wanted = true;
	files->file[name].identity = identity_of(files, name);
	if (files->blind && files->look.at == 0)
		timer_arm(files->loop, &files->look, clock_boottime() + FILES_POLL);
	return open_named(files, name);
}

void files_look_now(struct files *files)
{
	timer_arm(files->loop, &files->look, clock_boottime());
}

int files_check(const struct supervisor_options *options, bool have_state, struct error *err)
{
	const struct {
		const char *path, *what;
	} named[] = {
		{options->auth_key_file, "the auth key's file"},
		{options->ca_file, "the CA file (--ca-file, TS_CA_FILE)"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(named); i++) {
		_cleanup_close_ int fd = -1;
		struct error why = {0};

		if (!named[i].path)
			continue;
		fd = open_regular(named[i].path);
		if (fd >= 0)
			continue;
		if (fd == -EINVAL || fd == -EISDIR)
			error_set(&why, fd, "%s, %s, can't be read: %s", named[i].what,
				  named[i].path, file_problem(fd));
		else
			error_set_errno(&why, fd,
					"open %s, %s (is it mounted into this container, and "
					"readable?)",
					named[i].what, named[i].path);
		if (!have_state) {
			*err = why;
			return fd;
		}
		/* A known node may need neither; they are read again if it does. */
		log_warn("%s", why.text);
	}
	return 0;
}
