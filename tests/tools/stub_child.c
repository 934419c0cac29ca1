/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/stub_child.c - a second kind of child beside the engine, for the supervisor's tests
 *
 * It answers pings and ends when it is asked to. Signals tell it what to do:
 *
 *	SIGUSR1  send a request that only the engine may send
 *	SIGUSR2  write many log lines
 */
#include "privsep/privsep_messages.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t request, flood;

static void on_signal(int number)
{
	if (number == SIGUSR1)
		request = 1;
	else
		flood = 1;
}

int main(void)
{
	struct pollfd wait = {.fd = PRIVSEP_CHANNEL_FD, .events = POLLIN};
	struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};

	(void)signal(SIGUSR1, on_signal);
	(void)signal(SIGUSR2, on_signal);
	fprintf(stderr, "stub child: process %d\n", getpid());
	for (;;) {
		union privsep_message message = {.socket = {.header = {PRIVSEP_SOCKET, 1},
							    .kind = SOCKET_UDP,
							    .family = ADDRESS_V4}};
		union privsep_message alive = {.header.type = PRIVSEP_ALIVE};
		struct privsep_fds fds;

		if (request)
			(void)privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_ENGINE, &message, NULL,
					   0);
		for (int i = 0; flood && i < 20000; i++)
			/* The pipe does not block, and this child shall lose no line to it. */
			if (poll(&log, 1, 1000) == 1)
				fprintf(stderr, "stub child: line %d %0200d\n", i, i);
		request = flood = 0;
		if (poll(&wait, 1, 100) != 1)
			continue;
		if (privsep_receive(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SUPERVISOR, &message, &fds) <
		    0)
			return 1;
		privsep_fds_close(&fds);
		if (message.header.type == PRIVSEP_STOP)
			return 0;
		if (message.header.type == PRIVSEP_PING)
			(void)privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_ENGINE, &alive, NULL,
					   0);
	}
}
