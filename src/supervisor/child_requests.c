/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/child_requests.c - what the engine asks, and what it is told
 *
 * The messages were checked by privsep_receive(); here is decided whether the engine
 * may have what it asks for. Nothing waits: a blob or the network is answered later.
 */
#include "supervisor/supervisor_internal.h"

#include "base/cleanup.h"
#include "privsep/records.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

void requests_reply(struct supervisor *s, uint32_t id, int result, const char *text, int fd)
{
	union privsep_message reply = {
		.reply = {.header = {PRIVSEP_REPLY, id}, .result = result},
	};

	snprintf(reply.reply.text, sizeof(reply.reply.text), "%s", text);
	engine_send(s, &reply, &fd, fd >= 0 ? 1 : 0);
}

/* reply_fd() - Answer with a descriptor, which ends here, or with the errno that it is */
static void reply_fd(struct supervisor *s, uint32_t id, int fd)
{
	requests_reply(s, id, fd < 0 ? fd : 0, "", fd);
	if (fd >= 0)
		close(fd);
}

static void on_socket(struct supervisor *s, const struct privsep_socket *m)
{
	if (!quota_take(&s->engine.sockets, clock_boottime())) {
		reply_fd(s, m->header.id, -EDQUOT);
		return;
	}
	reply_fd(s, m->header.id,
		 socket_marked((enum socket_kind)m->kind, (enum address_family)m->family,
			       netlink_mark(s->network.netlink)));
}

static void on_file(struct supervisor *s, const struct privsep_file *m)
{
	if (!quota_take(&s->engine.files, clock_boottime())) {
		reply_fd(s, m->header.id, -EDQUOT);
		return;
	}
	reply_fd(s, m->header.id, files_get(&s->files, (enum privsep_file_name)m->name));
}

static void on_load(struct supervisor *s, const struct privsep_blob *m)
{
	_cleanup_close_ int fd = -1;
	struct error err = {0};

	if (!quota_take(&s->engine.loads, clock_boottime())) {
		reply_fd(s, m->header.id, -EDQUOT);
		return;
	}
	fd = blobs_load(&s->blobs, (enum privsep_blob_name)m->name, &err);
	requests_reply(s, m->header.id, fd < 0 ? fd : 0, err.text, fd);
}

static void on_store(struct supervisor *s, const struct privsep_blob *m, int memfd)
{
	struct blob_job job = {
		.name = (enum privsep_blob_name)m->name,
		.memfd = memfd,
		.id = m->header.id,
		.engine = s->engine.number,
	};
	int r = blobs_store(&s->blobs, &job);

	if (r < 0)
		requests_reply(s, m->header.id, r, strerror(-r), -1);
}

static const char *remedy(int result)
{
	if (result == -ENOSPC || result == -EDQUOT)
		return " (free some space)";
	return result == -EROFS || result == -EACCES ? " (make it writable)" : "";
}

void requests_stored(void *userdata, const struct blob_job *job)
{
	struct supervisor *s = userdata;
	char text[PRIVSEP_TEXT_MAX] = "";

	if (job->result < 0)
		snprintf(text, sizeof(text), "write the state directory %s: %s%s",
			 s->options->state_dir, strerror(-job->result), remedy(job->result));
	/* The engine that asked says it; where it is gone, we do. */
	if (s->engine.pid != 0 && job->engine == s->engine.number)
		requests_reply(s, job->id, job->result, text, -1);
	else if (job->result < 0 && job->result != -ECANCELED) /* overtaken by a newer one */
		log_error("%s", text);
}

void requests_file_changed(void *userdata, enum privsep_file_name name, int fd)
{
	struct supervisor *s = userdata;
	union privsep_message changed = {
		.changed =
			{
				.header.type = PRIVSEP_CHANGED,
				.name = name,
				.result = fd < 0 ? fd : 0,
			},
	};

	engine_send(s, &changed, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
}

/* Long enough that the state, once stored, has been used for the last time. */
#define GIVE_BACK_DELAY (2 * NSEC_PER_SEC)

static void on_status(struct supervisor *s, const struct privsep_status *m)
{
	memcpy(s->last_text, m->text, sizeof(s->last_text));
	switch (life_status(&s->life, (enum privsep_state)m->state,
			    s->options->exit_on_failure && !s->ending)) {
	case LIFE_ANNOUNCE:
		timer_cancel(&s->loop, &s->boot);
		timer_arm(&s->loop, &s->give_back, clock_boottime() + GIVE_BACK_DELAY);
		if (s->options->mode == SUPERVISOR_RUN)
			log_info("Startup complete, waiting for shutdown signal");
		break;
	case LIFE_ENDS:
		log_error("not Running any more, and --exit-on-failure is set: %s", m->text);
		supervisor_end(s, SUPERVISOR_EXIT_MACHINE);
		break;
	case LIFE_GOES_ON:
		break;
	}
}

int requests_receive(struct supervisor *s)
{
	union privsep_message m;
	struct privsep_fds fds;
	int r = privsep_receive(s->engine.channel.fd, PRIVSEP_FROM_ENGINE, &m, &fds);

	if (r < 0)
		return r;
	switch (m.header.type) {
	case PRIVSEP_SOCKET:
		on_socket(s, &m.socket);
		break;
	case PRIVSEP_FILE:
		on_file(s, &m.file);
		break;
	case PRIVSEP_LOAD:
		on_load(s, &m.blob);
		break;
	case PRIVSEP_STORE:
		on_store(s, &m.blob, fds.fd[0]);
		fds.count = 0;
		break;
	case PRIVSEP_NETWORK:
		network_request(s, m.header.id, fds.fd[0]);
		fds.count = 0;
		break;
	case PRIVSEP_STATUS:
		on_status(s, &m.status);
		break;
	case PRIVSEP_LOGIN:
		if (s->options->show_login && quota_take(&s->engine.said, clock_boottime()))
			s->options->show_login(m.login.url);
		break;
	case PRIVSEP_ALIVE:
		watchdog_answered(&s->engine.watchdog);
		break;
	case PRIVSEP_SETTLED:
		s->settled = true;
		break;
	default:
		r = -EBADMSG;
	}
	privsep_fds_close(&fds);
	return r;
}

/* add_fd() - Put @fd behind the others, if there is one; its count for the message */
static uint32_t add_fd(int *fds, size_t *count, int fd)
{
	if (fd < 0)
		return 0;
	fds[(*count)++] = fd;
	return 1;
}

int requests_start(struct supervisor *s)
{
	_cleanup_(buffer_free_secret) struct buffer bytes = BUFFER_INIT(PRIVSEP_START_MAX);
	union privsep_message m = {.begin.header.type = PRIVSEP_START};
	struct privsep_start start = s->options->start;
	_cleanup_close_ int memfd = -1;
	int fds[PRIVSEP_FDS_MAX];
	size_t count = 0;
	int r;

	/* What a person changed since then must not be undone by a crash. */
	if (s->settled) {
		start.prefs = NULL;
		start.up = false;
	}
	start.auth_key_present = s->auth_key || s->options->auth_key_file;
	start.tun_name = s->network.tun.name;
	start.udp_port = s->udp.port;
	start.packet_threads = s->network.tun.queue_count;
	start.crash_count = s->engine.crashes.total;
	start.last_crash = s->last_crash;
	start.warnings = s->warnings;
	r = privsep_start_encode(&start, &bytes);
	if (r < 0)
		return r;
	memfd = memfd_seal("pillion-start", buffer_head(&bytes), bytes.length);
	if (memfd < 0)
		return memfd;
	(void)add_fd(fds, &count, memfd);
	(void)add_fd(fds, &count, s->handover);
	m.begin.localapi = add_fd(fds, &count, s->localapi);
	m.begin.health = add_fd(fds, &count, s->health);
	m.begin.udp_v4 = add_fd(fds, &count, s->udp.v4);
	m.begin.udp_v6 = add_fd(fds, &count, s->udp.v6);
	for (unsigned int i = 0; i < s->network.tun.queue_count; i++)
		m.begin.tun += add_fd(fds, &count, s->network.tun.queues[i]);
	engine_send(s, &m, fds, count);
	requests_interfaces(s);
	return 0;
}

static void name_copy(char out[static IF_NAMESIZE], const char *name)
{
	snprintf(out, IF_NAMESIZE, "%s", name);
}

/* name_of() - The link's name by number, as the snapshot has it; empty where it has no address */
static const char *name_of(const struct net_interfaces *interfaces, uint32_t ifindex)
{
	for (size_t i = 0; i < interfaces->count; i++)
		if (interfaces->list[i].ifindex == ifindex)
			return interfaces->list[i].name;
	return "";
}

static uint32_t flags_of(uint32_t flags)
{
	static const struct {
		uint32_t net, privsep;
	} pairs[] = {
		{NET_INTERFACE_UP, PRIVSEP_INTERFACE_UP},
		{NET_INTERFACE_LOOPBACK, PRIVSEP_INTERFACE_LOOPBACK},
		{NET_INTERFACE_POINT_TO_POINT, PRIVSEP_INTERFACE_POINT_TO_POINT},
		{NET_INTERFACE_DEPRECATED, PRIVSEP_INTERFACE_DEPRECATED},
		{NET_INTERFACE_TEMPORARY, PRIVSEP_INTERFACE_TEMPORARY},
		{NET_INTERFACE_TENTATIVE, PRIVSEP_INTERFACE_TENTATIVE},
	};
	uint32_t result = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		if ((flags & pairs[i].net) != 0)
			result |= pairs[i].privsep;
	return result;
}

static void put_default(struct privsep_interfaces *out, const struct net_interfaces *interfaces,
			const struct net_default_route *route, enum address_family family)
{
	struct privsep_default_route *to;

	if (!route->present)
		return;
	to = &out->routes[out->route_count++];
	*to = (struct privsep_default_route){
		.index = route->ifindex,
		.gateway = route->gateway,
		.family = (uint8_t)family,
	};
	name_copy(to->name, name_of(interfaces, route->ifindex));
}

void requests_interfaces(struct supervisor *s)
{
	const struct net_interfaces *interfaces = &s->network.interfaces;
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_INTERFACES_MAX);
	union privsep_message m = {.header.type = PRIVSEP_INTERFACES};
	struct privsep_default_route routes[INTERFACES_ROUTES_MAX] = {0};
	struct privsep_interfaces out = {.routes = routes};
	_cleanup_free_ struct privsep_interface_address *addresses = NULL;
	_cleanup_close_ int memfd = -1;

	addresses = calloc(interfaces->count + 1, sizeof(*addresses));
	if (!addresses)
		return;
	out.addresses = addresses;
	for (size_t i = 0; i < interfaces->count && out.address_count < INTERFACES_MAX; i++) {
		const struct net_interface *from = &interfaces->list[i];
		struct privsep_interface_address *to;

		if (from->ifindex == s->network.tun.ifindex)
			continue;
		to = &addresses[out.address_count++];
		name_copy(to->name, from->name);
		to->index = from->ifindex;
		to->flags = flags_of(from->flags);
		to->prefix = from->prefix;
	}
	put_default(&out, interfaces, &interfaces->default_v4, ADDRESS_V4);
	put_default(&out, interfaces, &interfaces->default_v6, ADDRESS_V6);
	if (privsep_interfaces_encode(&out, &bytes) < 0)
		return;
	memfd = memfd_seal("pillion-interfaces", buffer_head(&bytes), bytes.length);
	if (memfd >= 0)
		engine_send(s, &m, &memfd, 1);
}
