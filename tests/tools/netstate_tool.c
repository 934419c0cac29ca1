/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/netstate_tool.c - the netlink room by hand, for the system tests
 *
 * Reads commands from stdin, a line each, and answers each with one line of JSON,
 * {"ok": true, …} or {"ok": false, "code": -16, "error": "…"}. It stands where the
 * supervisor will: it keeps the TUN open until it ends. Commands:
 *
 *	claim NAME TABLE     open NAME [QUEUES]   attach NAME         close
 *	reset                mtu N                up 0|1              rules 0|1
 *	protect 0|1          table N              address PREFIX      route PREFIX
 *	routes FIRST COUNT   apply                teardown            check 0|1
 *	interfaces           monitor              events MILLISECONDS memory
 *	ranges (of the tailnet alone, from which nothing comes by another link)
 *	divert ENDPOINT HIGH
 *
 * With --without-nftables it sees a kernel without nf_tables (socket() is refused).
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "netlink/check.h"
#include "netlink/interfaces.h"
#include "netlink/monitor.h"
#include "netlink/netstate.h"
#include "netlink/tun.h"

#include <errno.h>
#include <jansson.h>
#include <linux/netlink.h>
#include <poll.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

static struct {
	struct netlink *nl;
	struct net_monitor *monitor;
	struct tun tun;
	struct net_wanted wanted;
	struct prefix addresses[LIMIT_NET_ADDRESSES + 1];
	struct prefix routes[LIMIT_NET_ROUTES];
	struct net_divert diverts[NET_DIVERTS_MAX];
} tool;

static void answer(int r, const struct error *err, json_t *fields)
{
	json_t *object = fields ? fields : json_object();

	json_object_set_new(object, "ok", json_boolean(r >= 0));
	if (r < 0) {
		json_object_set_new(object, "code", json_integer(r));
		json_object_set_new(object, "error", json_string(err->text));
	}
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(object);
}

static void reset(void)
{
	tool.wanted = (struct net_wanted){
		.ifindex = tool.wanted.ifindex,
		.mtu = NET_MTU_DEFAULT,
		.up = true,
		.rules = true,
		.protect_input = true,
		.table = tool.wanted.table ? tool.wanted.table : NET_TABLE_DEFAULT,
		.addresses.list = tool.addresses,
		.routes.list = tool.routes,
		.diverts = tool.diverts,
	};
}

static void add(const char *text, struct prefix *list, size_t *count, size_t max)
{
	struct error err = {0};
	int r = -E2BIG;

	if (*count < max)
		r = prefix_parse(text, strlen(text), &list[*count]);
	if (r == 0)
		++*count;
	else
		error_set(&err, r, "not a prefix, or too many: %s", text);
	answer(r, &err, NULL);
}

static void add_routes(const char *first, unsigned int count)
{
	struct prefix p;
	uint32_t number;

	if (prefix_parse(first, strlen(first), &p) < 0 ||
	    count > LIMIT_NET_ROUTES - tool.wanted.routes.count) {
		answer(-EINVAL, &(struct error){.text = "routes"}, NULL);
		return;
	}
	for (unsigned int i = 0; i < count; i++) {
		uint8_t *low = p.address.bytes + address_length(&p.address) - 4;

		tool.routes[tool.wanted.routes.count++] = p;
		number = (uint32_t)low[0] << 24 | (uint32_t)low[1] << 16 | (uint32_t)low[2] << 8 |
			 low[3];
		number++;
		for (int byte = 0; byte < 4; byte++)
			low[byte] = (uint8_t)(number >> (24 - 8 * byte));
	}
	answer(0, NULL, NULL);
}

static void add_divert(const char *to, unsigned int high)
{
	struct net_divert *divert = &tool.diverts[tool.wanted.divert_count];
	int r = -E2BIG;

	if (tool.wanted.divert_count < NET_DIVERTS_MAX)
		r = endpoint_parse(to, strlen(to), &divert->to);
	if (r == 0) {
		divert->high = (uint16_t)high;
		tool.wanted.divert_count++;
	}
	answer(r, &(struct error){.text = "divert"}, NULL);
}

static json_t *warnings_of(unsigned int warnings)
{
	json_t *list = json_array();

	for (unsigned int bit = 1; bit != 0; bit <<= 1)
		if (warnings & bit)
			json_array_append_new(list, json_string(net_warning_text(bit)));
	return list;
}

static void apply(void)
{
	nanoseconds begin = clock_boottime();
	char conflict[PREFIX_TEXT_MAX];
	struct net_report report;
	struct error err = {0};
	int r = netlink_apply(tool.nl, &tool.wanted, &report, &err);
	json_t *fields = json_object();

	if (r == 0) {
		json_object_set_new(fields, "changes", json_integer(report.changes));
		json_object_set_new(fields, "rounds", json_integer(report.rounds));
		json_object_set_new(fields, "warnings", warnings_of(report.warnings));
		json_object_set_new(fields, "conflict",
				    json_string(prefix_format(&report.conflict, conflict)));
		json_object_set_new(fields, "nftables_error", json_integer(report.nftables_error));
	}
	json_object_set_new(fields, "ms", json_integer((clock_boottime() - begin) / NSEC_PER_MSEC));
	answer(r, &err, fields);
}

/* default_of() - The default route of @family, or null */
static json_t *default_of(const struct interfaces *snapshot, uint8_t family)
{
	char gateway[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < snapshot->route_count; i++)
		if (snapshot->routes[i].family == family)
			return json_pack("{s:i, s:s}", "ifindex", (int)snapshot->routes[i].index,
					 "gateway",
					 address_format(&snapshot->routes[i].gateway, gateway));
	return json_null();
}

static void interfaces(void)
{
	struct interfaces snapshot;
	struct error err = {0};
	int r = net_interfaces_read(tool.nl, &snapshot, &err);
	json_t *list = json_array(), *fields = json_object();

	if (r == 0) {
		for (size_t i = 0; i < snapshot.count; i++) {
			const struct interface_address *one = &snapshot.list[i];
			char prefix[PREFIX_TEXT_MAX];

			json_array_append_new(list, json_pack("{s:s, s:s, s:i}", "name", one->name,
							      "prefix",
							      prefix_format(&one->prefix, prefix),
							      "flags", (int)one->flags));
		}
		json_object_set_new(fields, "default_v4", default_of(&snapshot, ADDRESS_V4));
		json_object_set_new(fields, "default_v6", default_of(&snapshot, ADDRESS_V6));
		interfaces_free(&snapshot);
	}
	json_object_set_new(fields, "list", list);
	answer(r, &err, fields);
}

static void ranges(void)
{
	struct interfaces snapshot = {0};
	struct error err = {0};
	int r = net_interfaces_read(tool.nl, &snapshot, &err);

	if (r == 0)
		tool.wanted.whole_ranges =
			net_ranges_alone(tool.nl, tool.wanted.ifindex, &snapshot);
	interfaces_free(&snapshot);
	answer(r, &err, NULL);
}

static void check(bool allow_exit_node)
{
	struct net_allowed allowed = {.exit_node = allow_exit_node};
	struct prefix addresses[LIMIT_NET_ADDRESSES + 1];
	struct interfaces snapshot = {0};
	struct error err = {0};
	struct prefix *routes = calloc(tool.wanted.routes.count + 1, sizeof(*routes));
	struct net_wanted wanted = tool.wanted;
	struct net_verdict verdict = {0};
	int r = net_interfaces_read(tool.nl, &snapshot, &err);

	/* What is refused is taken out of the lists. */
	wanted.addresses.list = memcpy(addresses, tool.addresses, sizeof(addresses));
	wanted.routes.list = memcpy(routes, tool.routes, wanted.routes.count * sizeof(*routes));
	if (r == 0)
		r = prefix_set_parse("0.0.0.0/0,::/0", &allowed.routes);
	if (r == 0)
		r = net_wanted_check(&wanted, &snapshot, &allowed, &verdict, &err);
	if (r == 0 && verdict.refused > 0) {
		err = verdict.why;
		r = err.code;
	}
	free(routes);
	interfaces_free(&snapshot);
	answer(r, &err, NULL);
}

static void monitor(void)
{
	struct error err = {0};
	int r = net_monitor_open(tool.nl, &tool.monitor, &err);

	if (r == 0)
		net_monitor_watch(tool.monitor, tool.wanted.ifindex, tool.wanted.table);
	answer(r, &err, NULL);
}

/* events() - Wait for the first, then take in all that is there */
static void events(int milliseconds)
{
	struct pollfd waiting = {.fd = net_monitor_fd(tool.monitor), .events = POLLIN};
	json_t *fields = json_object();
	int r = 0;

	if (poll(&waiting, 1, milliseconds) > 0)
		r = net_monitor_read(tool.monitor);
	json_object_set_new(fields, "interfaces", json_boolean(r > 0 && r & NET_EVENT_INTERFACES));
	json_object_set_new(fields, "ours", json_boolean(r > 0 && r & NET_EVENT_OURS));
	json_object_set_new(fields, "gone", json_boolean(r > 0 && r & NET_EVENT_LINK_GONE));
	answer(r, &(struct error){.text = "monitor"}, fields);
}

/* memory() - Most that the process ever had resident, and now, in KiB */
static void memory(void)
{
	json_t *fields = json_object();
	char line[200];
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file)) {
		long value;

		if (sscanf(line, "VmHWM: %ld", &value) == 1)
			json_object_set_new(fields, "peak", json_integer(value));
		if (sscanf(line, "VmRSS: %ld", &value) == 1)
			json_object_set_new(fields, "now", json_integer(value));
	}
	if (file)
		fclose(file);
	answer(0, NULL, fields);
}

static void open_tun(const char *name, unsigned int queues)
{
	struct error err = {0};
	int r = tun_open(name, queues, 0, &tool.tun, &err);
	json_t *fields = json_object();

	if (r == 0) {
		tool.wanted.ifindex = tool.tun.ifindex;
		json_object_set_new(fields, "name", json_string(tool.tun.name));
		json_object_set_new(fields, "ifindex", json_integer(tool.tun.ifindex));
	}
	answer(r, &err, fields);
}

static void claim(const char *name, uint32_t table)
{
	struct error err = {0};
	unsigned int removed = 0;
	int r = netlink_claim(tool.nl, table, name, &removed, &err);
	json_t *fields = json_object();

	json_object_set_new(fields, "removed", json_integer(removed));
	answer(r, &err, fields);
}

static void command(const char *verb, const char *first, const char *second)
{
	unsigned int number = first ? (unsigned int)strtoul(first, NULL, 10) : 0;
	unsigned int other = second ? (unsigned int)strtoul(second, NULL, 10) : 0;
	struct error err = {0};

	if (strcmp(verb, "claim") == 0 && second)
		claim(first, other);
	else if (strcmp(verb, "open") == 0 && first)
		open_tun(first, second ? other : 1);
	else if (strcmp(verb, "address") == 0 && first)
		add(first, tool.addresses, &tool.wanted.addresses.count, LIMIT_NET_ADDRESSES + 1);
	else if (strcmp(verb, "route") == 0 && first)
		add(first, tool.routes, &tool.wanted.routes.count, LIMIT_NET_ROUTES);
	else if (strcmp(verb, "routes") == 0 && second)
		add_routes(first, other);
	else if (strcmp(verb, "divert") == 0 && second)
		add_divert(first, other);
	else if (strcmp(verb, "apply") == 0)
		apply();
	else if (strcmp(verb, "interfaces") == 0)
		interfaces();
	else if (strcmp(verb, "ranges") == 0)
		ranges();
	else if (strcmp(verb, "check") == 0)
		check(number != 0);
	else if (strcmp(verb, "monitor") == 0)
		monitor();
	else if (strcmp(verb, "events") == 0 && tool.monitor)
		events((int)number);
	else if (strcmp(verb, "memory") == 0)
		memory();
	else if (strcmp(verb, "teardown") == 0)
		answer(netlink_teardown(tool.nl, tool.wanted.table, tool.wanted.ifindex, &err),
		       &err, NULL);
	else {
		if (strcmp(verb, "attach") == 0 && first)
			tool.wanted.ifindex = if_nametoindex(first);
		else if (strcmp(verb, "close") == 0)
			tun_close(&tool.tun);
		else if (strcmp(verb, "reset") == 0)
			reset();
		else if (strcmp(verb, "mtu") == 0)
			tool.wanted.mtu = number;
		else if (strcmp(verb, "up") == 0)
			tool.wanted.up = number != 0;
		else if (strcmp(verb, "rules") == 0)
			tool.wanted.rules = number != 0;
		else if (strcmp(verb, "protect") == 0)
			tool.wanted.protect_input = number != 0;
		else if (strcmp(verb, "table") == 0)
			tool.wanted.table = number;
		else {
			answer(-EINVAL, &(struct error){.text = "no such command"}, NULL);
			return;
		}
		answer(0, NULL, NULL);
	}
}

/* forget_nftables() - From here on, opening its socket fails as in a kernel without it */
static bool forget_nftables(void)
{
	const struct scmp_arg_cmp of_nftables[] = {
		{.arg = 0, .op = SCMP_CMP_EQ, .datum_a = AF_NETLINK},
		{.arg = 2, .op = SCMP_CMP_EQ, .datum_a = NETLINK_NETFILTER},
	};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool done =
		filter &&
		seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket),
				       ARRAY_SIZE(of_nftables), of_nftables) == 0 &&
		seccomp_load(filter) == 0;

	seccomp_release(filter);
	return done;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	char line[256];

	if (argc > 1 && (strcmp(argv[1], "--without-nftables") != 0 || !forget_nftables())) {
		fprintf(stderr, "usage: %s [--without-nftables]\n", argv[0]);
		return 2;
	}
	reset();
	if (netlink_open(&tool.nl, &err) < 0) {
		fprintf(stderr, "netstate_tool: %s\n", err.text);
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		char *verb = strtok(line, " \n"), *first = strtok(NULL, " \n");

		if (verb)
			command(verb, first, strtok(NULL, " \n"));
	}
	net_monitor_close(tool.monitor);
	netlink_close(tool.nl);
	tun_close(&tool.tun);
	return 0;
}
