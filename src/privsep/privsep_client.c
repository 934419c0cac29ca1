/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/privsep_client.c - a child's end of its channel to the supervisor */
#include "privsep/privsep_client.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define DISPATCH_BATCH 64 /* messages a call, so that the loop's other events get their turn */

struct queued {
	STAILQ_ENTRY(queued) next;
	union privsep_message message;
	struct privsep_fds fds;
};

struct pending {
	uint32_t id;       /* 0: free */
	privsep_done done; /* one of the three */
	privsep_done_fd done_fd;
	privsep_done_opened opened;
	void *userdata;
};

struct privsep_client {
	int channel;
	enum privsep_sender sender;
	int epoll;
	int wake; /* eventfd: readable while something is queued */
	struct privsep_client_handlers handlers;
	void *userdata;
	uint32_t last_id;
	STAILQ_HEAD(, queued) queue;
	size_t queue_length;
	struct pending pending[PRIVSEP_CLIENT_PENDING_MAX];
	struct socket_source sockets;
	int broken; /* negative errno once the channel can't be used any more */
	bool started;
	bool dispatching;
	bool freed; /* by a handler: ends when dispatch returns */
};

static int sockets_open(struct socket_source *self, enum socket_kind kind,
			enum address_family family);

/* #syscalls: epoll_create1 epoll_ctl eventfd2 */
int privsep_client_new(int channel, enum privsep_sender sender,
		       const struct privsep_client_handlers *handlers, void *userdata,
		       struct privsep_client **ret)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct privsep_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	STAILQ_INIT(&client->queue);
	client->channel = -1;
	client->epoll = epoll_create1(EPOLL_CLOEXEC);
	client->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (client->epoll < 0 || client->wake < 0 ||
	    epoll_ctl(client->epoll, EPOLL_CTL_ADD, client->wake, &event) < 0 ||
	    epoll_ctl(client->epoll, EPOLL_CTL_ADD, channel, &event) < 0) {
		r = -errno;
		privsep_client_free(client);
		return r;
	}
	client->channel = channel;
	client->sender = sender;
	if (handlers)
		client->handlers = *handlers;
	client->userdata = userdata;
	client->sockets.open = sockets_open;
	*ret = client;
	return 0;
}

static struct queued *queue_take(struct privsep_client *client)
{
	struct queued *first = STAILQ_FIRST(&client->queue);

	if (first) {
		STAILQ_REMOVE_HEAD(&client->queue, next);
		client->queue_length--;
	}
	return first;
}

/* finish() - End one pending request; @fd is its descriptor, or -1 */
static void finish(struct pending *pending, int result, const char *text, int fd)
{
	struct pending done = *pending;

	*pending = (struct pending){0};
	if (done.opened)
		done.opened(done.userdata,
			    result < 0 ? result
			    : fd >= 0  ? TAKE_FD(fd)
				       : -EBADMSG,
			    text);
	else if (done.done_fd)
		done.done_fd(done.userdata, result < 0 ? result : fd >= 0 ? TAKE_FD(fd) : -EBADMSG);
	else if (done.done)
		done.done(done.userdata, result, text);
	cleanup_close_at(&fd);
}

void privsep_client_free(struct privsep_client *client)
{
	struct queued *queued;

	if (!client)
		return;
	client->broken = -EPIPE;
	for (size_t i = 0; i < PRIVSEP_CLIENT_PENDING_MAX; i++)
		if (client->pending[i].id != 0)
			finish(&client->pending[i], -EPIPE, "the supervisor is gone", -1);
	if (client->dispatching) {
		client->freed = true;
		return;
	}
	while ((queued = queue_take(client))) {
		privsep_fds_close(&queued->fds);
		free(queued);
	}
	cleanup_close_at(&client->channel);
	cleanup_close_at(&client->epoll);
	cleanup_close_at(&client->wake);
	free(client);
}

int privsep_client_fd(const struct privsep_client *client)
{
	return client->epoll;
}

/* #syscalls: poll ppoll */
static int wait_for(const struct privsep_client *client, short events, nanoseconds deadline)
{
	struct pollfd poll_fd = {.fd = client->channel, .events = events};
	nanoseconds left = deadline - clock_boottime();
	int n;

	if (left <= 0)
		return -ETIMEDOUT;
	n = poll(&poll_fd, 1, (int)((left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC));
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

/* send_message() - Send, waiting for room in the channel at most until @deadline */
static int send_message(struct privsep_client *client, const union privsep_message *message,
			const int *fds, size_t fd_count, nanoseconds deadline)
{
	while (client->broken == 0) {
		int r = privsep_send(client->channel, client->sender, message, fds, fd_count);

		if (r == 0)
			return 0;
		if (r == -EAGAIN)
			r = wait_for(client, POLLOUT, deadline);
		else
			client->broken = r;
		if (r < 0)
			return r;
	}
	return client->broken;
}

/* send_alone() - A message without descriptors */
static int send_alone(struct privsep_client *client, const union privsep_message *message)
{
	return send_message(client, message, NULL, 0, clock_boottime() + PRIVSEP_CLIENT_DEADLINE);
}

/* enqueue() - Keep a message for the next dispatch; takes its descriptors */
static int enqueue(struct privsep_client *client, const union privsep_message *message,
		   struct privsep_fds *fds)
{
	struct queued *queued = NULL;

	if (client->queue_length < PRIVSEP_CLIENT_QUEUE_MAX)
		queued = calloc(1, sizeof(*queued));
	if (!queued) {
		privsep_fds_close(fds);
		return -ENOBUFS;
	}
	queued->message = *message;
	queued->fds = *fds;
	STAILQ_INSERT_TAIL(&client->queue, queued, next);
	client->queue_length++;
	/* #syscalls: write */
	if (write(client->wake, &(uint64_t){1}, sizeof(uint64_t)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

static uint32_t next_id(struct privsep_client *client)
{
	if (++client->last_id == 0)
		client->last_id = 1;
	return client->last_id;
}

/* receive() - The next message; on failure the client is broken, but for -EAGAIN */
static int receive(struct privsep_client *client, union privsep_message *ret,
		   struct privsep_fds *ret_fds)
{
	int r;

	if (client->broken < 0)
		return client->broken;
	r = privsep_receive(client->channel, PRIVSEP_FROM_SUPERVISOR, ret, ret_fds);
	if (r < 0 && r != -EAGAIN)
		client->broken = r;
	return r;
}

/*
 * call() - Send a request and wait for its answer; other messages are queued
 * @err: receives the text of a refusal; may be NULL
 *
 * Return: the answer's descriptor, or negative errno
 */
static int call(struct privsep_client *client, union privsep_message *request, struct error *err)
{
	nanoseconds deadline = clock_boottime() + PRIVSEP_CLIENT_DEADLINE;
	uint32_t id = next_id(client);
	int r;

	request->header.id = id;
	r = send_message(client, request, NULL, 0, deadline);
	while (r == 0) {
		union privsep_message message;
		struct privsep_fds fds;

		r = receive(client, &message, &fds);
		if (r == -EAGAIN) {
			r = wait_for(client, POLLIN, deadline);
		} else if (r == 0 && message.header.type == PRIVSEP_REPLY &&
			   message.header.id == id) {
			if (message.reply.result < 0)
				return error_set(err, message.reply.result, "%s",
						 message.reply.text);
			return fds.count == 1 ? fds.fd[0] : -EBADMSG;
		} else if (r == 0) {
			r = enqueue(client, &message, &fds);
			if (r < 0)
				client->broken = r;
		}
	}
	return r;
}

static int sockets_open(struct socket_source *self, enum socket_kind kind,
			enum address_family family)
{
	struct privsep_client *client = container_of(self, struct privsep_client, sockets);
	union privsep_message request = {
		.socket = {.header.type = PRIVSEP_SOCKET, .kind = kind, .family = family},
	};

	return call(client, &request, NULL);
}

struct socket_source *privsep_client_sockets(struct privsep_client *client)
{
	return &client->sockets;
}

int privsep_client_open_file(struct privsep_client *client, enum privsep_file_name name)
{
	union privsep_message request = {.file = {{PRIVSEP_FILE, 0}, name}};

	return call(client, &request, NULL);
}

int privsep_client_load(struct privsep_client *client, enum privsep_blob_name name, size_t limit,
			struct buffer *ret, struct error *err)
{
	union privsep_message request = {.blob = {{PRIVSEP_LOAD, 0}, name, ""}};
	_cleanup_close_ int fd = call(client, &request, err);

	return fd < 0 ? fd : file_read(fd, limit, ret);
}

int privsep_client_load_domain(struct privsep_client *client, enum privsep_blob_name name,
			       const char *domain, size_t limit, struct buffer *ret,
			       struct error *err)
{
	union privsep_message request = {.blob = {{PRIVSEP_LOAD, 0}, name, ""}};
	_cleanup_close_ int fd = -EINVAL;

	if (!privsep_domain_fits(domain))
		return -EINVAL;
	strcpy(request.blob.domain, domain);
	fd = call(client, &request, err);
	return fd < 0 ? fd : file_read(fd, limit, ret);
}

/* request() - Send a request, with @memfd unless it is -1; its answer comes to @then */
static int request(struct privsep_client *client, union privsep_message *message, int memfd,
		   struct pending then)
{
	struct pending *slot = NULL;
	int r;

	for (size_t i = 0; i < PRIVSEP_CLIENT_PENDING_MAX && !slot; i++)
		if (client->pending[i].id == 0)
			slot = &client->pending[i];
	if (!slot)
		return -ENOBUFS;
	message->header.id = next_id(client);
	r = send_message(client, message, &memfd, memfd >= 0,
			 clock_boottime() + PRIVSEP_CLIENT_DEADLINE);
	if (r < 0)
		return r;
	then.id = message->header.id;
	*slot = then;
	return 0;
}

int privsep_client_store(struct privsep_client *client, enum privsep_blob_name name,
			 const void *bytes, size_t length, privsep_done done, void *userdata)
{
	union privsep_message message = {.blob = {{PRIVSEP_STORE, 0}, name, ""}};
	_cleanup_close_ int memfd = privsep_memfd_seal(PRIVSEP_STORE, bytes, length);

	return memfd < 0 ? memfd
			 : request(client, &message, memfd,
				   (struct pending){.done = done, .userdata = userdata});
}

int privsep_client_store_domain(struct privsep_client *client, enum privsep_blob_name name,
				const char *domain, const void *bytes, size_t length,
				privsep_done done, void *userdata)
{
	union privsep_message message = {.blob = {{PRIVSEP_STORE, 0}, name, ""}};
	_cleanup_close_ int memfd = privsep_memfd_seal(PRIVSEP_STORE, bytes, length);

	if (!privsep_domain_fits(domain))
		return -EINVAL;
	strcpy(message.blob.domain, domain);
	return memfd < 0 ? memfd
			 : request(client, &message, memfd,
				   (struct pending){.done = done, .userdata = userdata});
}

/* request_list() - Send an encoded list as a memfd */
static int request_list(struct privsep_client *client, enum privsep_type type, struct buffer *bytes,
			privsep_done done, void *userdata)
{
	union privsep_message message = {.header.type = type};
	_cleanup_close_ int memfd = privsep_memfd_seal(type, buffer_head(bytes), bytes->length);

	return memfd < 0 ? memfd
			 : request(client, &message, memfd,
				   (struct pending){.done = done, .userdata = userdata});
}

int privsep_client_serve(struct privsep_client *client, const struct privsep_serve *serve,
			 privsep_done done, void *userdata)
{
	_cleanup_(buffer_free_secret) struct buffer bytes = BUFFER_INIT(PRIVSEP_SERVE_MAX);
	int r = privsep_serve_encode(serve, &bytes);

	return r < 0 ? r : request_list(client, PRIVSEP_SERVE, &bytes, done, userdata);
}

int privsep_client_connect(struct privsep_client *client, uint32_t serving, unsigned int target,
			   unsigned int address, privsep_done_fd done, void *userdata)
{
	union privsep_message message = {
		.connect = {.header.type = PRIVSEP_CONNECT,
			    .target = target,
			    .address = address,
			    .serving = serving},
	};

	return request(client, &message, -1,
		       (struct pending){.done_fd = done, .userdata = userdata});
}

int privsep_client_open(struct privsep_client *client, uint32_t serving, unsigned int path,
			const char *name, privsep_done_opened done, void *userdata)
{
	union privsep_message message = {
		.open = {.header.type = PRIVSEP_OPEN, .serving = serving, .path = path},
	};

	if (snprintf(message.open.name, sizeof(message.open.name), "%s", name) >=
	    (int)sizeof(message.open.name))
		return -ENAMETOOLONG;
	return request(client, &message, -1,
		       (struct pending){.opened = done, .userdata = userdata});
}

int privsep_client_network(struct privsep_client *client, const struct privsep_network *network,
			   privsep_done done, void *userdata)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_NETWORK_MAX);
	int r = privsep_network_encode(network, &bytes);

	return r < 0 ? r : request_list(client, PRIVSEP_NETWORK, &bytes, done, userdata);
}

int privsep_client_status(struct privsep_client *client, enum privsep_state state, const char *text)
{
	union privsep_message message = {.status = {{PRIVSEP_STATUS, 0}, .state = state}};

	snprintf(message.status.text, sizeof(message.status.text), "%s", text);
	return send_alone(client, &message);
}

int privsep_client_unused(struct privsep_client *client)
{
	return send_alone(client, &(union privsep_message){.header.type = PRIVSEP_UNUSED});
}

int privsep_client_settled(struct privsep_client *client)
{
	return send_alone(client, &(union privsep_message){.header.type = PRIVSEP_SETTLED});
}

int privsep_client_login(struct privsep_client *client, const char *url)
{
	union privsep_message message = {.login.header.type = PRIVSEP_LOGIN}, checked;

	if (snprintf(message.login.url, sizeof(message.login.url), "%s", url) >=
	    (int)sizeof(message.login.url))
		return -EMSGSIZE;
	/* The control server chose it, and the supervisor kills an engine for an invalid one. */
	if (privsep_check(PRIVSEP_FROM_ENGINE, &message, sizeof(message.login), 0, &checked) < 0)
		return -EINVAL;
	return send_alone(client, &message);
}

static int handle_interfaces(struct privsep_client *client, int memfd)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_INTERFACES_MAX);
	struct interfaces interfaces = {0};
	int r = privsep_memfd_read(PRIVSEP_INTERFACES, memfd, &bytes);

	if (r == 0)
		r = privsep_interfaces_decode(bytes.data, bytes.length, &interfaces);
	if (r < 0)
		return r;
	if (client->handlers.interfaces)
		client->handlers.interfaces(client->userdata, &interfaces);
	interfaces_free(&interfaces);
	return 0;
}

static int handle_divert(struct privsep_client *client, int memfd)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_DIVERT_MAX);
	struct privsep_divert diverts[SERVE_DIVERTS_MAX];
	size_t count = 0;
	int r = privsep_memfd_read(PRIVSEP_DIVERT, memfd, &bytes);

	if (r == 0)
		r = privsep_diverts_decode(buffer_head(&bytes), bytes.length, diverts, &count);
	if (r == 0 && client->handlers.divert)
		client->handlers.divert(client->userdata, diverts, count);
	return r;
}

static int handle_serving(struct privsep_client *client, uint32_t number, int memfd)
{
	_cleanup_(buffer_free_secret) struct buffer bytes = BUFFER_INIT(PRIVSEP_SERVE_MAX);
	struct privsep_serve serve;
	int r = privsep_memfd_read(PRIVSEP_SERVING, memfd, &bytes);

	if (r == 0)
		r = privsep_serve_decode(buffer_head(&bytes), bytes.length, &serve);
	if (r < 0)
		return r;
	serve.number = number;
	if (client->handlers.serving)
		client->handlers.serving(client->userdata, &serve);
	else
		privsep_serve_clear(&serve);
	return 0;
}

/* handle() - One message that no call waits for; takes its descriptors */
static int handle(struct privsep_client *client, const union privsep_message *message,
		  struct privsep_fds *fds)
{
	const struct privsep_client_handlers *on = &client->handlers;
	int r = 0;

	switch (message->header.type) {
	case PRIVSEP_REPLY:
		/* The late answer to a call that gave up waiting is dropped. */
		for (size_t i = 0; i < PRIVSEP_CLIENT_PENDING_MAX; i++)
			if (client->pending[i].id == message->header.id) {
				finish(&client->pending[i], message->reply.result,
				       message->reply.text,
				       fds->count == 1 ? TAKE_FD(fds->fd[0]) : -1);
				break;
			}
		break;
	case PRIVSEP_INTERFACES:
		r = handle_interfaces(client, fds->fd[0]);
		break;
	case PRIVSEP_CHANGED:
		if (on->file_changed) {
			int fd = message->changed.result;

			if (fd == 0) {
				fd = fds->fd[0];
				fds->fd[0] = -1;
			}
			on->file_changed(client->userdata,
					 (enum privsep_file_name)message->changed.name, fd);
		}
		break;
	case PRIVSEP_DIVERT:
		r = handle_divert(client, fds->fd[0]);
		break;
	case PRIVSEP_LINK:
		if (on->link)
			on->link(client->userdata, TAKE_FD(fds->fd[0]));
		break;
	case PRIVSEP_SERVING:
		r = handle_serving(client, message->header.id, fds->fd[0]);
		break;
	case PRIVSEP_LISTENER:
		if (on->listener)
			on->listener(client->userdata, (uint16_t)message->listener.port,
				     TAKE_FD(fds->fd[0]));
		break;
	case PRIVSEP_STOP:
		if (on->stop)
			on->stop(client->userdata);
		break;
	case PRIVSEP_PING:
		r = send_alone(client, &(union privsep_message){.header.type = PRIVSEP_ALIVE});
		break;
	default: /* a second PRIVSEP_START */
		r = -EBADMSG;
	}
	privsep_fds_close(fds);
	return r;
}

/* dispatch() - As privsep_client_dispatch(); frees nothing */
static int dispatch(struct privsep_client *client)
{
	uint64_t count;
	int r = 0;

	/* #syscalls: read */
	if (read(client->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	for (int i = 0; r == 0 && !client->freed && i < DISPATCH_BATCH; i++) {
		struct queued *queued = queue_take(client);
		union privsep_message message;
		struct privsep_fds fds;

		if (queued) {
			r = handle(client, &queued->message, &queued->fds);
			free(queued);
			continue;
		}
		r = receive(client, &message, &fds);
		if (r == 0)
			r = handle(client, &message, &fds);
	}
	if (client->queue_length > 0 && write(client->wake, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		r = r < 0 ? r : -errno;
	if (r == -EAGAIN)
		return 0;
	if (r < 0 && client->broken == 0)
		client->broken = r;
	return r;
}

int privsep_client_dispatch(struct privsep_client *client)
{
	int r;

	client->dispatching = true;
	r = dispatch(client);
	client->dispatching = false;
	if (!client->freed)
		return r;
	privsep_client_free(client);
	return 0;
}

/* unpack() - Give the descriptors of PRIVSEP_START their names; the counts were checked */
static void unpack(const struct privsep_begin *begin, struct privsep_fds *fds,
		   struct privsep_start_message *ret)
{
	size_t at = 1;

	ret->handover = fds->fd[at++];
	ret->localapi = begin->localapi ? fds->fd[at++] : -1;
	ret->health = begin->health ? fds->fd[at++] : -1;
	ret->udp_v4 = begin->udp_v4 ? fds->fd[at++] : -1;
	ret->udp_v6 = begin->udp_v6 ? fds->fd[at++] : -1;
	ret->tun_count = begin->tun;
	for (size_t i = 0; i < PRIVSEP_TUN_MAX; i++)
		ret->tun[i] = i < begin->tun ? fds->fd[at++] : -1;
	close(fds->fd[0]);
	fds->count = 0;
}

int privsep_client_start(struct privsep_client *client, struct privsep_start_message *ret,
			 struct error *err)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_START_MAX);
	nanoseconds deadline = clock_boottime() + PRIVSEP_CLIENT_DEADLINE;
	union privsep_message message;
	struct privsep_fds fds;
	struct privsep_start config;
	int r;

	while ((r = receive(client, &message, &fds)) == -EAGAIN) {
		r = wait_for(client, POLLIN, deadline);
		if (r < 0)
			break;
	}
	if (r < 0)
		return error_set_errno(err, r, "wait for the supervisor's first message");
	if (client->started || message.header.type != PRIVSEP_START) {
		privsep_fds_close(&fds);
		return error_set(err, -EBADMSG, "the supervisor's first message is not a start");
	}
	r = privsep_memfd_read(PRIVSEP_START, fds.fd[0], &bytes);
	if (r == 0)
		r = privsep_start_decode(bytes.data, bytes.length, &config);
	if (r < 0) {
		privsep_fds_close(&fds);
		return error_set_errno(err, r, "read the start configuration");
	}
	client->started = true;
	ret->config = config;
	unpack(&message.begin, &fds, ret);
	return 0;
}

void privsep_start_message_clear(struct privsep_start_message *message)
{
	privsep_start_clear(&message->config);
	cleanup_close_at(&message->handover);
	cleanup_close_at(&message->localapi);
	cleanup_close_at(&message->health);
	cleanup_close_at(&message->udp_v4);
	cleanup_close_at(&message->udp_v6);
	for (size_t i = 0; i < PRIVSEP_TUN_MAX; i++)
		cleanup_close_at(&message->tun[i]);
}
