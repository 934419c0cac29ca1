/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/public_proofs.c - the public port of --acme-listen: proofs for an authority, nothing else
 *
 * The whole internet may connect. By http-01 each connection gets the answer to one request, the
 * proof or 404 (funnel_proof.c). By tls-alpn-01 only a client that looks for the proof which is shown
 * now sees a certificate; while no order is under way, connections are closed at once. So nothing
 * that this node serves to peers is reached here, not even its name.
 */
#include "services/certs/keeper.h"
#include "services/funnel.h"

#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "transport/loop_timer.h"
#include "transport/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKES_MAX 64u /* of the internet; an authority looks from a handful of places */
#define PATIENCE       (10 * NSEC_PER_SEC)
#define ACCEPTS_A_TURN 16
#define ACCEPT_PAUSE   (NSEC_PER_SEC / 10)

struct public_proofs {
	struct services *services;
	uv_poll_t poll;
	struct loop_timer *again; /* after a failure */
	int fd;
	unsigned int handshakes;
};

struct look {
	struct services_part part;
	struct stream *stream;
	struct loop_timer *timer;
};

static void look_free(struct look *look)
{
	struct public_proofs *proofs = look->part.services->public_proofs;

	if (proofs)
		proofs->handshakes--;
	services_remove(&look->part);
	loop_timer_free(look->timer);
	free(look);
}

static void on_opened(void *user)
{
	struct look *look = user;

	stream_set_events(look->stream, NULL, NULL);
	stream_finish(look->stream); /* it has seen what it looked for */
	look_free(look);
}

static void give_up(void *user)
{
	struct look *look = user;

	stream_close(look->stream);
	look_free(look);
}

static void on_closed(void *user, const struct error *err)
{
	(void)err;
	give_up(user);
}

static void close_part(struct services_part *part)
{
	give_up(container_of(part, struct look, part));
}

static void show_tls(struct public_proofs *proofs, struct stream *below)
{
	static const struct stream_events events = {.opened = on_opened, .closed = on_closed};
	struct tls_context *tls = proofs->services->proof_tls;
	struct look *look =
		tls && proofs->handshakes < HANDSHAKES_MAX ? calloc(1, sizeof(*look)) : NULL;

	if (!look || loop_timer_create(proofs->services->loop, give_up, look, &look->timer) < 0) {
		stream_close(below);
		free(look);
		return;
	}
	if (tls_server(tls, below, &look->stream, NULL) < 0) {
		loop_timer_free(look->timer);
		free(look);
		return;
	}
	proofs->handshakes++;
	services_add(proofs->services, &look->part, 0, close_part);
	services_add_funnel(&look->part);
	loop_timer_at(look->timer, clock_boottime() + PATIENCE);
	stream_set_events(look->stream, &events, look);
}

static void take(struct public_proofs *proofs, int fd)
{
	struct services *services = proofs->services;
	bool http = services->serving && services->serving->acme.challenge == SERVE_CHALLENGE_HTTP;
	struct stream *stream;

	if (!services->serving || services->connections >= services->connections_max ||
	    services->funnels >= services->connections_max / 2 || (!http && !services->proof_tls)) {
		close(fd);
		return;
	}
	if (tcp_open(services->loop, fd, &stream, NULL) < 0)
		return;
	if (http)
		funnel_proof_open(services, stream);
	else
		show_tls(proofs, stream);
}

static void on_incoming(uv_poll_t *poll, int status, int events)
{
	struct public_proofs *proofs = poll->data;

	(void)status;
	(void)events;
	for (int left = ACCEPTS_A_TURN; left > 0; left--) {
		int fd = accept4(proofs->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
			uv_poll_stop(poll);
			loop_timer_at(proofs->again, clock_boottime() + ACCEPT_PAUSE);
		}
		if (fd < 0)
			break;
		take(proofs, fd);
	}
}

static void on_again(void *user)
{
	struct public_proofs *proofs = user;

	uv_poll_start(&proofs->poll, UV_READABLE, on_incoming);
}

void public_proofs_listen(struct services *services, int fd)
{
	struct public_proofs *proofs = services->public_proofs ? NULL : calloc(1, sizeof(*proofs));

	if (!proofs || loop_timer_create(services->loop, on_again, proofs, &proofs->again) < 0 ||
	    uv_poll_init(services->loop, &proofs->poll, fd) < 0) {
		log_error("the public port for ACME can't be served: out of memory");
		close(fd);
		if (proofs)
			loop_timer_free(proofs->again);
		free(proofs);
		return;
	}
	proofs->services = services;
	proofs->fd = fd;
	proofs->poll.data = proofs;
	uv_poll_start(&proofs->poll, UV_READABLE, on_incoming);
	services->public_proofs = proofs;
	certificates_update(services); /* an order may begin now */
}

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void public_proofs_free(struct services *services)
{
	struct public_proofs *proofs = TAKE_PTR(services->public_proofs);

	if (!proofs)
		return;
	loop_timer_free(proofs->again);
	uv_poll_stop(&proofs->poll);
	close(proofs->fd);
	uv_close((uv_handle_t *)&proofs->poll, on_poll_closed);
}
