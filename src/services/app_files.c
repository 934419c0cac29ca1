/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/app_files.c - files and folders in place of an app
 *
 * DOC: Theory of operation
 *
 *	ASK     the supervisor opens the file, or lists the folder
 *	SEND    head, then the body in pieces, as fast as the client takes it
 *
 * The answer to a request is the whole of what the exchange wants; it is a back that takes no body.
 * No file is opened here, and no byte of it is kept: the next piece is read when the client has
 * taken the last one. A page that lists a folder is made in memory, of all at most LISTINGS_MAX.
 */
#include "base/cleanup.h"
#include "privsep/privsep_client.h"
#include "services/exchange.h"
#include "services/file_rules.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE          ((size_t)64 * 1024)
#define PIECES_A_TURN  16
#define ASK_PAUSE      (2 * NSEC_PER_MSEC)
#define ASK_LIMIT      (5 * NSEC_PER_SEC)
#define LISTING_MAX    ((size_t)4 * 1024 * 1024)
#define LISTINGS_MAX   ((size_t)64 * 1024 * 1024)
#define BOUNDARY_BYTES 16
#define PART_HEAD_MAX  384

struct app_files {
	struct exchange_back back;
	struct exchange *x; /* NULL: closed */
	unsigned int holds;
	struct loop_timer *timer;
	nanoseconds ends;
	int fault;   /* of the path; negative errno */
	bool begun;  /* the exchange has this back */
	bool asked;  /* the supervisor has not answered yet */
	bool paused; /* the client is slow */
	bool sends;  /* the head is out */
	bool pumping;
	struct file_path path;
	const struct serve_handler *handler;

	/* What is sent: ranges of @fd, or @text */
	int fd;
	struct buffer text;
	size_t counted; /* of @text, in listing_bytes */
	struct file_facts facts;
	struct file_plan plan;
	const char *type;
	char boundary[2 * BOUNDARY_BYTES + 1];
	size_t part; /* of the plan's ranges */
	bool part_begun;
	uint64_t at, end; /* of the part */
};

/* Of all listings that are being sent. */
static size_t listing_bytes;

static struct app_files *files_of(struct exchange_back *back)
{
	return container_of(back, struct app_files, back);
}

static void enter(struct app_files *f)
{
	f->holds++;
}

static void leave(struct app_files *f)
{
	if (--f->holds > 0 || f->x || f->asked)
		return;
	loop_timer_free(f->timer);
	cleanup_close_at(&f->fd);
	listing_bytes -= f->counted;
	buffer_free(&f->text);
	file_path_free(&f->path);
	free(f);
}

/* --- Answers --- */

/* struct answer - The head of an answer, with room for values that are made */
struct answer {
	struct http1_head head;
	char length[24], date[FILE_DATE_MAX], range[64], type[80];
};

static void put(struct answer *a, const char *name, const char *value)
{
	a->head.headers[a->head.header_count++] = (struct http1_header){name, value};
}

static void put_length(struct answer *a, uint64_t length)
{
	snprintf(a->length, sizeof(a->length), "%llu", (unsigned long long)length);
	put(a, "Content-Length", a->length);
	a->head.content_length = (int64_t)length;
}

static void answer_init(struct answer *a, int status)
{
	a->head.status = status;
	a->head.reason = http1_reason(status);
	a->head.header_count = 0;
	a->head.content_length = -1;
}

static bool is_head(const struct app_files *f)
{
	return strcmp(exchange_request(f->x)->method, "HEAD") == 0;
}

/* say() - A line of text, and the end */
static void say(struct app_files *f, int status, const char *location, const char *text)
{
	struct answer a = {0};
	bool bodyless = is_head(f);

	answer_init(&a, status);
	if (location)
		put(&a, "Location", location);
	if (status == 405)
		put(&a, "Allow", "GET, HEAD");
	if (*text)
		put(&a, "Content-Type", "text/plain; charset=utf-8");
	if (status >= 400)
		put(&a, "X-Content-Type-Options", "nosniff");
	put_length(&a, strlen(text));
	f->sends = true;
	exchange_on_head(f->x, &a.head, bodyless);
	if (f->x && !bodyless && *text)
		exchange_on_body(f->x, (const uint8_t *)text, strlen(text));
	if (f->x)
		exchange_on_end(f->x, NULL, 0);
}

static void refuse(struct app_files *f, int code)
{
	switch (code) {
	case -ENOENT:
	case -ENOTDIR:
	case -ENAMETOOLONG:
		say(f, 404, NULL, "404 page not found\n");
		return;
	case -EACCES:
		say(f, 403, NULL, "403 Forbidden\n");
		return;
	case -EPERM:
		say(f, 403, NULL,
		    "403 Forbidden: the path behind this page is outside of the folders that may "
		    "be "
		    "served. The operator names them with --serve-root (TS_SERVE_ROOT).\n");
		return;
	case -ENOSYS:
		say(f, 500, NULL,
		    "500: the kernel of this node, or a seccomp profile, lacks openat2 (Linux "
		    "5.6), "
		    "without which no file is served.\n");
		return;
	case -EINVAL:
		say(f, 400, NULL, "400: the path has a broken escape\n");
		return;
	default:
		say(f, code == -EDQUOT || code == -ETIMEDOUT ? 503 : 500, NULL,
		    code == -EDQUOT || code == -ETIMEDOUT ? "503: too many requests for files\n"
							  : "500 Internal Server Error\n");
	}
}

/* redirect() - To @url, decoded, with the request's query */
static void redirect(struct app_files *f, int status, const char *url)
{
	_cleanup_(buffer_free) struct buffer where = BUFFER_INIT((size_t)4 * LIMIT_HTTP_HEADER);
	int r = file_path_location(url, exchange_request(f->x)->target, &where);

	if (r == 0)
		r = buffer_append(&where, "", 1);
	if (r < 0)
		refuse(f, r);
	else
		say(f, status, (const char *)buffer_head(&where), "");
}

/* --- Bodies --- */

/* part_head() - What precedes a part of several, or follows the last; its length */
static size_t part_head(const struct app_files *f, size_t part, char out[static PART_HEAD_MAX])
{
	const struct file_range *range = &f->plan.ranges[part];

	if (part == f->plan.range_count)
		return (size_t)snprintf(out, PART_HEAD_MAX, "\r\n--%s--\r\n", f->boundary);
	return (size_t)snprintf(
		out, PART_HEAD_MAX,
		"%s--%s\r\nContent-Range: bytes %llu-%llu/%llu\r\nContent-Type: %s\r\n\r\n",
		part > 0 ? "\r\n" : "", f->boundary, (unsigned long long)range->start,
		(unsigned long long)(range->start + range->length - 1),
		(unsigned long long)f->facts.size, f->type);
}

/* next_part() - Begin the next range; false: there is none, and the answer is whole */
static bool next_part(struct app_files *f)
{
	char head[PART_HEAD_MAX];
	bool several = f->plan.range_count > 1;

	if (f->part_begun)
		f->part++;
	f->part_begun = true;
	if (several && f->part <= f->plan.range_count)
		exchange_on_body(f->x, (const uint8_t *)head, part_head(f, f->part, head));
	if (!f->x || f->part >= f->plan.range_count)
		return false;
	f->at = f->plan.ranges[f->part].start;
	f->end = f->at + f->plan.ranges[f->part].length;
	return true;
}

/*
 * pump() - Send as much as the client takes
 * #syscalls: pread64
 */
static void pump(struct app_files *f)
{
	static uint8_t piece[PIECE]; /* sent, or copied, before the call returns */

	if (f->pumping || !f->sends)
		return;
	f->pumping = true;
	enter(f);
	for (int left = PIECES_A_TURN; f->x && !f->paused; left--) {
		size_t wanted = f->end - f->at < PIECE ? (size_t)(f->end - f->at) : PIECE;
		ssize_t n;

		if (wanted == 0) {
			if (next_part(f))
				continue;
			if (f->x)
				exchange_on_end(f->x, NULL, 0);
			break;
		}
		if (left <= 0) {
			loop_timer_soon(f->timer);
			break;
		}
		if (f->fd < 0) {
			n = (ssize_t)wanted;
			memcpy(piece, buffer_head(&f->text) + f->at, wanted);
		} else {
			n = pread(f->fd, piece, wanted, (off_t)f->at);
		}
		if (n <= 0) {
			exchange_on_failure(f->x, EXCHANGE_FAILED,
					    n == 0 ? "The file became shorter" : strerror(errno));
			break;
		}
		f->at += (uint64_t)n;
		exchange_on_body(f->x, piece, (size_t)n);
	}
	f->pumping = false;
	leave(f);
}

/* length_of() - Of the body that the plan sends */
static uint64_t length_of(const struct app_files *f)
{
	char head[PART_HEAD_MAX];
	uint64_t sum = 0;

	for (size_t i = 0; i < f->plan.range_count; i++)
		sum += f->plan.ranges[i].length;
	for (size_t i = 0; i <= f->plan.range_count && f->plan.range_count > 1; i++)
		sum += part_head(f, i, head);
	return sum;
}

/* send_answer() - The head of the plan, and the body */
static void send_answer(struct app_files *f)
{
	const struct file_range *first = f->plan.ranges;
	bool bodyless = is_head(f) || f->plan.status == 304 || f->plan.status == 412;
	struct answer a = {0};

	answer_init(&a, f->plan.status);
	if (f->facts.modified != 0 && (f->plan.status < 300 || f->fd >= 0))
		put(&a, "Last-Modified", file_date(f->facts.modified, a.date));
	if (*f->facts.etag && f->plan.status != 412)
		put(&a, "Etag", f->facts.etag);
	if (f->plan.status < 300) {
		if (f->fd >= 0)
			put(&a, "Accept-Ranges", "bytes");
		if (f->plan.status == 206 && f->plan.range_count == 1) {
			snprintf(a.range, sizeof(a.range), "bytes %llu-%llu/%llu",
				 (unsigned long long)first->start,
				 (unsigned long long)(first->start + first->length - 1),
				 (unsigned long long)f->facts.size);
			put(&a, "Content-Range", a.range);
		}
		snprintf(a.type, sizeof(a.type), "multipart/byteranges; boundary=%s", f->boundary);
		put(&a, "Content-Type", f->plan.range_count > 1 ? a.type : f->type);
		put_length(&a, length_of(f));
	} else if (f->plan.status == 412) {
		put_length(&a, 0);
	}
	f->sends = true;
	exchange_on_head(f->x, &a.head, bodyless);
	if (f->x && bodyless)
		exchange_on_end(f->x, NULL, 0);
	else if (f->x)
		pump(f);
}

static void send_unsatisfiable(struct app_files *f)
{
	struct answer a = {0};
	const char *text =
		f->plan.invalid ? "invalid range\n" : "invalid range: failed to overlap\n";

	answer_init(&a, 416);
	if (!f->plan.invalid) {
		snprintf(a.range, sizeof(a.range), "bytes */%llu",
			 (unsigned long long)f->facts.size);
		put(&a, "Content-Range", a.range);
	}
	put(&a, "Content-Type", "text/plain; charset=utf-8");
	put(&a, "X-Content-Type-Options", "nosniff");
	put_length(&a, strlen(text));
	f->sends = true;
	exchange_on_head(f->x, &a.head, is_head(f));
	if (f->x && !is_head(f))
		exchange_on_body(f->x, (const uint8_t *)text, strlen(text));
	if (f->x)
		exchange_on_end(f->x, NULL, 0);
}

/* follow_plan() - Answer by the plan; without ranges the whole is one */
static void follow_plan(struct app_files *f)
{
	uint8_t random[BOUNDARY_BYTES];

	if (f->plan.status == 416) {
		send_unsatisfiable(f);
		return;
	}
	if (f->plan.status == 200) {
		f->plan.range_count = 1;
		f->plan.ranges[0] = (struct file_range){0, f->facts.size};
	}
	if (f->plan.range_count > 1) {
		/* #syscalls: getrandom */
		(void)!getrandom(random, sizeof(random), 0);
		for (size_t i = 0; i < sizeof(random); i++)
			snprintf(f->boundary + 2 * i, 3, "%02x", random[i]);
	}
	send_answer(f);
}

/* --- What was opened --- */

/* send_file() - @name: for its type, or NULL */
static void send_file(struct app_files *f, const char *name)
{
	uint8_t first[FILE_SNIFF_MAX];
	struct stat st;
	ssize_t n;

	/* #syscalls: fstat newfstatat */
	if (fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		refuse(f, -EACCES);
		return;
	}
	f->facts.size = (uint64_t)st.st_size;
	f->facts.modified = st.st_mtim.tv_sec;
	file_etag(f->facts.size, st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec, f->facts.etag);
	f->type = file_type_by_name(name);
	if (!f->type) {
		n = pread(f->fd, first, sizeof(first), 0);
		f->type = file_type_by_content(first, n > 0 ? (size_t)n : 0);
	}
	file_plan_make(exchange_request(f->x), &f->facts, &f->plan);
	follow_plan(f);
}

/* send_folder() - The list in @memfd */
static void send_folder(struct app_files *f, int memfd)
{
	_cleanup_(buffer_free) struct buffer names = BUFFER_INIT(PRIVSEP_FOLDER_MAX);
	struct privsep_folder head;
	size_t length;
	int r = memfd_read(memfd, PRIVSEP_FOLDER_MAX, &names);

	if (r < 0 || names.length < sizeof(head)) {
		refuse(f, -EIO);
		return;
	}
	memcpy(&head, buffer_head(&names), sizeof(head));
	length = names.length - sizeof(head);
	f->facts.modified = head.modified;
	file_plan_make(exchange_request(f->x), &f->facts, &f->plan);
	if (f->plan.status != 304) {
		f->text = BUFFER_INIT(LISTING_MAX);
		r = listing_bytes + names.length > LISTINGS_MAX
			    ? -EDQUOT
			    : file_listing((const char *)buffer_head(&names) + sizeof(head), length,
					   head.cut, &f->text);
		if (r < 0) {
			refuse(f, r);
			return;
		}
		f->plan = (struct file_plan){.status = 200};
		f->counted = f->text.length;
		listing_bytes += f->counted;
	}
	f->facts.size = f->text.length;
	f->type = "text/html; charset=utf-8";
	follow_plan(f);
}

/* folder_of_index() - A page has one address, that of its folder */
static char *folder_of_index(const struct app_files *f)
{
	static const char index[] = "/index.html";
	size_t length = strlen(f->path.url), tail = sizeof(index) - 1;

	if (length < tail || f->path.slash || strcmp(f->path.url + length - tail, index) != 0)
		return NULL;
	return strndup(f->path.url, length - tail + 1);
}

static void use_folder(struct app_files *f, bool index, int *fd)
{
	_cleanup_free_ char *slashed = NULL;

	if (!f->path.slash) {
		if (asprintf(&slashed, "%s/", f->path.url) < 0)
			slashed = NULL;
		redirect(f, *f->path.name ? 301 : 302, slashed ?: "/");
	} else if (index) {
		f->fd = TAKE_FD(*fd);
		send_file(f, "index.html");
	} else {
		send_folder(f, *fd);
	}
}

static void use_file(struct app_files *f, int *fd)
{
	const char *mount = f->handler->mount;
	bool itself = !*f->path.name;

	/* The path of the handler is a file: it has the mount's address alone. */
	if (itself && f->path.slash != (f->handler->slash || strcmp(mount, "/") == 0)) {
		refuse(f, -ENOENT);
	} else if (!itself && f->path.slash) {
		redirect(f, 301, f->path.url);
	} else {
		f->fd = TAKE_FD(*fd);
		send_file(f, itself ? mount : f->path.name);
	}
}

static void on_opened(void *user, int fd, const char *kind)
{
	struct app_files *f = user;
	_cleanup_close_ int owned = fd;

	f->asked = false;
	enter(f);
	if (!f->x)
		goto out;
	if (fd == -ESTALE || fd == -EAGAIN) /* by the new numbers; or when fewer wait */
		loop_timer_at(f->timer, clock_boottime() + ASK_PAUSE);
	else if (fd < 0)
		refuse(f, fd);
	else if (strcmp(kind, PRIVSEP_OPENED_FILE) == 0)
		use_file(f, &owned);
	else
		use_folder(f, strcmp(kind, PRIVSEP_OPENED_INDEX) == 0, &owned);
out:
	leave(f);
}

/* path_now() - The number of the handler's path in the newest configuration; -1: it has none */
static int path_now(const struct app_files *f)
{
	const struct serve_config *now = &exchange_services(f->x)->serving->config;
	const char *wanted = exchange_serving(f->x)->config.paths[f->handler->path];

	for (size_t i = 0; i < now->path_count; i++)
		if (strcmp(now->paths[i], wanted) == 0)
			return (int)i;
	return -1;
}

static void ask(struct app_files *f)
{
	struct services *services = exchange_services(f->x);
	int path = path_now(f), r;

	if (path < 0) {
		refuse(f, -ENOENT);
		return;
	}
	if (clock_boottime() >= f->ends) {
		refuse(f, -ETIMEDOUT);
		return;
	}
	r = privsep_client_open(services->privsep, services->serving->number, (unsigned int)path,
				f->path.name, on_opened, f);
	if (r == -ENOBUFS)
		loop_timer_at(f->timer, clock_boottime() + ASK_PAUSE);
	else if (r < 0)
		refuse(f, r);
	else
		f->asked = true;
}

/* begin() - Answer without a file, or ask for it */
static void begin(struct app_files *f)
{
	const char *method = exchange_request(f->x)->method;
	_cleanup_free_ char *folder = NULL;

	f->begun = true;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		say(f, 405, NULL, "405: files are read by GET and HEAD\n");
	else if (f->fault < 0)
		refuse(f, f->fault);
	else if ((folder = folder_of_index(f)))
		redirect(f, 301, folder);
	else
		ask(f);
}

static void on_timer(void *user)
{
	struct app_files *f = user;

	enter(f);
	if (f->x && f->sends)
		pump(f);
	else if (f->x && !f->begun)
		begin(f);
	else if (f->x && !f->asked)
		ask(f);
	leave(f);
}

/* --- As a back --- */

static int take_body(struct exchange_back *back, const uint8_t *bytes, size_t length)
{
	(void)back;
	(void)bytes;
	(void)length;
	return 0; /* of a request that should have none */
}

static int take_end(struct exchange_back *back, const struct http1_header *trailers, size_t count)
{
	(void)back;
	(void)trailers;
	(void)count;
	return 0;
}

static size_t pending(const struct exchange_back *back)
{
	(void)back;
	return 0;
}

static void pause_answer(struct exchange_back *back)
{
	files_of(back)->paused = true;
}

static void resume_answer(struct exchange_back *back)
{
	struct app_files *f = files_of(back);

	f->paused = false;
	if (f->sends)
		loop_timer_soon(f->timer);
}

static void close_back(struct exchange_back *back, bool whole)
{
	struct app_files *f = files_of(back);

	(void)whole;
	enter(f);
	f->x = NULL;
	loop_timer_at(f->timer, DEADLINE_NEVER);
	leave(f);
}

struct exchange_back *app_files_open(struct exchange *x, const struct serve_handler *handler,
				     const char *target)
{
	static const struct exchange_back_operations operations = {
		.body = take_body,
		.end = take_end,
		.pending = pending,
		.pause = pause_answer,
		.resume = resume_answer,
		.close = close_back,
	};
	struct app_files *f = calloc(1, sizeof(*f));

	if (!f || loop_timer_create(exchange_services(x)->loop, on_timer, f, &f->timer) < 0) {
		free(f);
		return NULL;
	}
	f->back.operations = &operations;
	f->x = x;
	f->handler = handler;
	f->fd = -1;
	f->ends = clock_boottime() + ASK_LIMIT;
	f->fault = file_path_read(target, handler->mount, &f->path);
	loop_timer_soon(f->timer);
	return &f->back;
}
