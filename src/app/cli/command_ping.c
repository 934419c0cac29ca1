/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_ping.c - ping a peer inside of the tailnet and show the path */
#include "app/cli/client.h"
#include "app/cli/command.h"
#include "app/cli/output.h"
#include "base/address.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define COUNT_DEFAULT    10
#define TIMEOUT_DEFAULT  (5 * NSEC_PER_SEC)
#define TIMEOUT_MOST     (3600 * NSEC_PER_SEC)
#define PING_INTERVAL_NS NSEC_PER_SEC
#define TARGET_MAX       160

/* resolve() - The first tailnet address of a peer by name */
static int resolve(struct command_line *line, const char *host, char ret[static ADDRESS_TEXT_MAX],
		   struct error *err)
{
	_cleanup_json_ json_t *status = NULL;
	struct address address;
	const json_t *node;
	int r;

	if (address_parse(host, strlen(host), &address) == 0) {
		address_format(&address, ret);
		return 0;
	}
	r = localapi_status(localapi_socket_path(line->socket), true, &status, err);
	if (r < 0)
		return r;
	node = peer_find(status, host, err);
	if (!node)
		return -ENOENT;
	snprintf(ret, ADDRESS_TEXT_MAX, "%s", peer_address(node));
	return 0;
}

static const char *ping_type(struct command_line *line)
{
	if (line->own[PING_TSMP].on)
		return "TSMP";
	if (line->own[PING_ICMP].on)
		return "ICMP";
	if (line->own[PING_PEERAPI].on)
		return "peerapi";
	return "disco";
}

/* print_pong() - "pong from laptop (100.64.0.2) by relay fra in 12 ms" */
static void print_pong(const json_t *result)
{
	const char *endpoint = text_of(result, "Endpoint");
	const char *relay = text_of(result, "DERPRegionCode");
	const char *url = text_of(result, "PeerAPIURL");
	double ms = json_number_value(json_object_get(result, "LatencySeconds")) * 1000;

	if (*url) {
		print_line(stdout, "hit peerapi of %s (%s) at %s in %.1f ms",
			   text_of(result, "NodeIP"), text_of(result, "NodeName"), url, ms);
		fflush(stdout);
		return;
	}

	print_line(stdout, "pong from %s (%s) %s%s%s in %.1f ms", text_of(result, "NodeName"),
		   text_of(result, "NodeIP"),
		   *endpoint ? "directly, "
		   : *relay  ? "by relay "
			     : "through WireGuard",
		   *endpoint ? endpoint : relay, *endpoint ? "," : "", ms);
	fflush(stdout);
}

static void pause_until(nanoseconds when)
{
	nanoseconds left = when - clock_boottime();
	struct timespec t = {.tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC};

	if (left > 0)
		nanosleep(&t, NULL);
}

int run_ping(struct command_line *line)
{
	const struct flag_value *count = &line->own[PING_COUNT];
	const struct flag_value *direct = &line->own[PING_UNTIL_DIRECT];
	bool until_direct = !direct->given || direct->on;
	int64_t most = count->given ? count->number : COUNT_DEFAULT;
	char address[ADDRESS_TEXT_MAX], target[TARGET_MAX];
	int64_t timeout =
		line->own[PING_TIMEOUT].given ? line->own[PING_TIMEOUT].number : TIMEOUT_DEFAULT;
	struct error err = {0};
	int64_t pongs = 0;

	if (line->rest_count != 1)
		return complain(EXIT_USAGE, "name a host: pillion ping HOST");
	if (timeout <= 0 || timeout > TIMEOUT_MOST)
		return complain(EXIT_USAGE, "--timeout: more than 0, at most 1h");
	if (resolve(line, line->rest[0], address, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	snprintf(target, sizeof(target), "/localapi/v0/ping?ip=%s&type=%s", address,
		 ping_type(line));
	for (int64_t i = 0; most == 0 || i < most; i++) {
		_cleanup_json_ json_t *result = NULL;
		nanoseconds next = clock_boottime() + PING_INTERVAL_NS;

		int r = localapi_call_within((int)(timeout / NSEC_PER_MSEC),
					     localapi_socket_path(line->socket), "POST", target,
					     NULL, &result, &err);

		if (r < 0 && r != -ETIMEDOUT)
			return complain(EXIT_FAILS, "%s", err.text);
		if (r == -ETIMEDOUT) {
			printf("no answer: timed out\n");
			continue;
		}
		if (json_is_true(json_object_get(result, "IsLocalIP"))) {
			print_line(stdout, "%s is this node", address);
			return EXIT_OK;
		}
		if (*text_of(result, "Err")) {
			print_line(stdout, "no answer: %s", text_of(result, "Err"));
		} else {
			print_pong(result);
			pongs++;
			if ((until_direct && *text_of(result, "Endpoint")) ||
			    line->own[PING_PEERAPI].on)
				break;
		}
		if (most == 0 || i + 1 < most)
			pause_until(next);
	}
	if (pongs == 0)
		return complain(EXIT_FAILS,
				"no answer from %s; 'pillion status' shows whether it is online",
				address);
	return EXIT_OK;
}
