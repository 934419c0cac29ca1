/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/network.c - the TUN link, the wanted network state, changes of the machine's networks
 *
 * DOC: Theory of operation
 *
 * The engine's first request has all routes; the next ones add and remove some. The newest request
 * is kept, unread, until its turn, which a quota bounds: reading, checking and applying all routes
 * may take a good part of a second. Requests that it replaces are answered with -ECANCELED; a
 * delta that does not follow the request taken last is answered with -ESTALE, and the engine
 * then sends all routes. Addresses and routes that are not allowed (netlink/check.h) are left
 * out, and the answer names the first. A delta of plain routes (netlink/route_set.h) goes to the
 * kernel without a dump; for any other the whole state is judged, dumped and compared.
 *
 * The monitor reports two events. The machine's own addresses changed: a snapshot goes to the
 * engine, SNAPSHOT_WAIT after the first change of a burst, and all requested routes are judged
 * again, since a route may cover a new network, or no longer cover one. Another program changed
 * our state: it is repaired, not more often than REPAIRS allows. If our TUN link is deleted,
 * its queues are dead: the supervisor makes a new link, trying until that succeeds, and starts a
 * new engine with it. While no engine runs, the state stays as it is.
 */
#include "supervisor/supervisor_internal.h"

#include "base/cleanup.h"
#include "netlink/check.h"
#include "privsep/records.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

/* Changes in one turn of the loop: a signal waits for some 50 ms at most. */
#define ROUTE_CHANGES_MAX 8192u

#define RETRY_WAIT     (1 * NSEC_PER_SEC)
#define RETRY_WAIT_MAX (16 * NSEC_PER_SEC)
#define ANY_ROUTE      "0.0.0.0/0,::/0"

/* Repairs of our state while another program removes it: 10 at once, then one in 5 s. */
#define REPAIRS ((struct quota){.burst = 10, .interval = 5 * NSEC_PER_SEC})

static void apply_fire(struct loop_timer *timer, nanoseconds now);
static void repair_fire(struct loop_timer *timer, nanoseconds now);
static void snapshot_fire(struct loop_timer *timer, nanoseconds now);
static void renew_fire(struct loop_timer *timer, nanoseconds now);
static void events_ready(struct loop_source *source, uint32_t events);

/* has_link() - False between its deletion and the next */
static bool has_link(const struct network *network)
{
	return network->tun.queue_count > 0;
}

_Static_assert((uint32_t)START_TUN_HEADERS == TUN_HEADERS && (uint32_t)START_TUN_TCP == TUN_TCP &&
		       (uint32_t)START_TUN_UDP == TUN_UDP,
	       "the engine's names of the offloads");

static int open_tun(struct supervisor *s, struct error *err)
{
	const struct privsep_start *start = &s->options->start;
	uint32_t offloads = TUN_OFFLOADS_ALL;
	int r;

	if (privsep_start_disables(start, "tun-headers"))
		offloads = 0;
	if (privsep_start_disables(start, "tun-tso"))
		offloads &= (uint32_t) ~(TUN_TCP | TUN_UDP);
	if (privsep_start_disables(start, "tun-uso"))
		offloads &= (uint32_t)~TUN_UDP;
	r = tun_open(start->tun_name, 1, offloads, &s->network.tun, err);
	/* A kernel without the header, such as gVisor's. */
	if (r == -EINVAL && offloads)
		r = tun_open(start->tun_name, 1, 0, &s->network.tun, err);

	if (r == 0)
		net_monitor_watch(s->network.monitor, s->network.tun.ifindex, start->table);
	return r;
}

static int read_allowed(const struct privsep_start *start, struct net_allowed *ret,
			struct error *err)
{
	*ret = (struct net_allowed){.exit_node = start->allow_exit_node};
	if (prefix_set_parse(start->tailnet_ranges, &ret->tailnet) < 0 ||
	    prefix_set_parse(start->allow_routes ?: ANY_ROUTE, &ret->routes) < 0)
		return error_set(err, -EINVAL,
				 "--tailnet-prefix or --allow-routes is no list of "
				 "prefixes");
	return 0;
}

int network_open(struct supervisor *s, struct error *err)
{
	const struct privsep_start *start = &s->options->start;
	struct network *network = &s->network;
	unsigned int removed = 0;
	int r;

	*network = (struct network){
		.events = LOOP_SOURCE(events_ready),
		.apply = LOOP_TIMER(apply_fire),
		.repair = LOOP_TIMER(repair_fire),
		.snapshot = LOOP_TIMER(snapshot_fire),
		.renew = LOOP_TIMER(renew_fire),
		.repairs = REPAIRS,
		.retry_wait = RETRY_WAIT,
		.asked = -1,
	};
	r = read_allowed(start, &network->allowed, err);
	if (r == 0)
		r = netlink_open(&network->netlink, err);
	if (r == 0)
		netlink_set_tailnet(network->netlink, &network->allowed.tailnet);
	if (r == 0)
		r = netlink_claim(network->netlink, start->table,
				  start->tun_name ?: TUN_NAME_DEFAULT, &removed, err);
	if (r < 0)
		return r;
	if (removed > 0)
		log_info("cleaned up after a run that did not end in order: %u rules and routes",
			 removed);
	r = net_monitor_open(network->netlink, &network->monitor, err);
	if (r == 0)
		r = open_tun(s, err);
	if (r == 0)
		r = loop_add(&s->loop, &network->events, net_monitor_fd(network->monitor), EPOLLIN);
	if (r == 0)
		r = net_interfaces_read(network->netlink, &network->interfaces, err);
	return r;
}

/* wanted_of() - The wanted state without its addresses and routes */
static struct net_wanted wanted_of(const struct supervisor *s, const struct privsep_network *wish)
{
	return (struct net_wanted){
		.ifindex = s->network.tun.ifindex,
		.mtu = wish->mtu ? wish->mtu : s->options->start.mtu,
		.up = wish->up,
		.rules = wish->up,
		.protect_input = wish->up && wish->netfilter,
		.whole_ranges = wish->share_ranges ? 0
						   : net_ranges_alone(s->network.netlink,
								      s->network.tun.ifindex,
								      &s->network.interfaces),
		.table = s->options->start.table,
		.diverts = s->network.diverts,
		.divert_count = wish->up ? s->network.divert_count : 0,
		.route_changes_max = ROUTE_CHANGES_MAX,
	};
}

/* note_refused() - Keep the reason for the first refused address or route; log a new one */
static void note_refused(struct supervisor *s, const struct net_verdict *verdict)
{
	struct network *network = &s->network;
	char refused[PRIVSEP_TEXT_MAX] = "";

	if (verdict->refused > 0)
		snprintf(refused, sizeof(refused), "%s", verdict->why.text);
	if (verdict->refused > 1)
		snprintf(refused + strlen(refused), sizeof(refused) - strlen(refused),
			 " (and %zu more routes)", verdict->refused - 1);
	if (refused[0] && strcmp(refused, network->refused) != 0 &&
	    quota_take(&s->engine.quotas.said, clock_boottime()))
		log_warn("an address or a peer's route was left out: %s", refused);
	memcpy(network->refused, refused, sizeof(refused));
}

/* judge() - Decide which addresses of @wish and which of @routes are allowed now */
static int judge(struct supervisor *s, const struct privsep_network *wish,
		 struct net_route_set *routes, struct error *err)
{
	struct net_wanted wanted = wanted_of(s, wish);
	struct net_verdict verdict;
	int r = net_route_set_list(routes, false, &wanted.routes);

	for (size_t i = 0; r == 0 && i < wish->addresses.count; i++)
		r = prefixes_add(&wanted.addresses, &wish->addresses.list[i]);
	prefixes_unite(&wanted.routes); /* the first refused route is named: always the same one */
	if (r < 0)
		error_set(err, r, "out of memory for the routes");
	else
		r = net_wanted_check(&wanted, &s->network.interfaces, &s->network.allowed, &verdict,
				     err);
	if (r == 0) {
		note_refused(s, &verdict);
		net_route_set_judge(routes, &wanted.routes);
		prefixes_free(&s->network.addresses);
		s->network.addresses = wanted.addresses;
		wanted.addresses = (struct prefixes){0};
		s->network.settled = false;
		services_addresses(s);
	}
	prefixes_free(&wanted.addresses);
	prefixes_free(&wanted.routes);
	return r;
}

/* apply_soon() - Bring the whole state to the kernel; the turn of a newer request does so too */
static void apply_soon(struct supervisor *s)
{
	s->network.settled = false;
	if (s->network.have_wanted && s->network.asked < 0)
		timer_arm(&s->loop, &s->network.apply, clock_boottime());
}

void network_set_diverts(struct supervisor *s, const struct net_divert *diverts, size_t count)
{
	memcpy(s->network.diverts, diverts, count * sizeof(*diverts));
	s->network.divert_count = count;
	apply_soon(s);
}

void network_request(struct supervisor *s, uint32_t id, int memfd)
{
	struct network *network = &s->network;
	nanoseconds now = clock_boottime();

	if (network->asked >= 0) {
		close(network->asked);
		child_reply(&s->engine, network->asked_id, -ECANCELED, "overtaken by a newer one",
			    -1);
	}
	network->asked = memfd;
	network->asked_id = id;
	timer_arm(&s->loop, &network->apply, now + quota_wait(&s->engine.quotas.networks, now));
}

/* report_text() - The warnings of an apply in one text; new ones are logged */
static void report_text(struct network *network, unsigned int warnings,
			char out[static PRIVSEP_TEXT_MAX])
{
	size_t used = (size_t)snprintf(out, PRIVSEP_TEXT_MAX, "%s%s%s", network->obstacle,
				       network->obstacle[0] && network->refused[0] ? "; " : "",
				       network->refused);

	for (unsigned int bit = 0; bit < 32; bit++) {
		enum net_warning warning = (enum net_warning)(1u << bit);

		if ((warnings & warning) == 0)
			continue;
		if ((network->warnings & warning) == 0)
			log_warn("%s", net_warning_text(warning));
		if (used < PRIVSEP_TEXT_MAX)
			used += (size_t)snprintf(out + used, PRIVSEP_TEXT_MAX - used, "%s%s",
						 used ? "; " : "", net_warning_text(warning));
	}
	network->warnings = warnings;
}

/* is_same_link() - Whether two wishes differ in routes alone */
static bool is_same_link(const struct privsep_network *a, const struct privsep_network *b)
{
	return a->up && b->up && a->netfilter == b->netfilter &&
	       a->share_ranges == b->share_ranges && a->mtu == b->mtu &&
	       a->addresses.count == b->addresses.count &&
	       memcmp(a->addresses.list, b->addresses.list,
		      a->addresses.count * sizeof(*a->addresses.list)) == 0;
}

/* change_routes() - Send a plain change to the kernel; whether the kernel took all of it */
static bool change_routes(struct supervisor *s, const struct prefixes *added,
			  const struct prefixes *gone)
{
	const struct net_wanted wanted = wanted_of(s, &s->network.wish);
	unsigned int changes;

	if (!s->network.settled || !has_link(&s->network) ||
	    added->count + gone->count > ROUTE_CHANGES_MAX)
		return false;
	return netlink_change_routes(s->network.netlink, &wanted, s->network.warnings, added, gone,
				     &changes) == 0;
}

/*
 * take_wish() - Store a decoded request; a plain delta is sent to the kernel at once
 *
 * Return: 1 if that was all; 0 if the whole must be applied; negative errno: nothing is taken
 */
static int take_wish(struct supervisor *s, struct privsep_network *wish, struct error *err)
{
	_cleanup_(prefixes_free) struct prefixes added = {0};
	_cleanup_(prefixes_free) struct prefixes gone = {0};
	struct network *network = &s->network;
	struct net_route_set whole = {0};
	struct net_route_set *set = wish->delta ? &network->routes : &whole;
	struct prefixes before = network->wish.addresses;
	int r;

	if (wish->delta && (!network->have_base || wish->number != network->wish.number + 1))
		return error_set(err, -ESTALE, "a change of routes that were not received");
	r = net_route_set_change(set, &wish->routes, &wish->gone, network->tun.ifindex,
				 &network->interfaces, &network->allowed, &added, &gone, err);
	if (r > 0)
		r = wish->delta && is_same_link(&network->wish, wish);
	if (r == 0) {
		r = judge(s, wish, set, err);
	} else if (r > 0) {
		network->settled = change_routes(s, &added, &gone);
		r = network->settled;
	}
	if (r < 0) {
		net_route_set_free(&whole);
		network->have_base = false;
		network->settled &= !wish->delta; /* a part of it may be in the set */
		return r;
	}
	if (!wish->delta) {
		net_route_set_free(&network->routes);
		network->routes = whole;
	}
	network->wish = *wish;
	network->wish.routes = network->wish.gone = (struct prefixes){0};
	wish->addresses = before; /* freed with the routes, which the set has now */
	network->have_base = true;
	network->have_wanted = true;
	return r;
}

/* take_request() - Read a request; whether it needs the whole to be applied */
static bool take_request(struct supervisor *s, uint32_t id, int memfd)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_NETWORK_MAX);
	_cleanup_(privsep_network_free) struct privsep_network wish = {0};
	struct network *network = &s->network;
	char text[PRIVSEP_TEXT_MAX] = "";
	struct error err = {0};
	int r = privsep_memfd_read(PRIVSEP_NETWORK, memfd, &bytes);

	if (r == 0)
		r = privsep_network_decode(buffer_head(&bytes), bytes.length, &wish);
	if (r < 0)
		error_set(&err, r, "the wanted network state can't be read");
	else
		r = take_wish(s, &wish, &err);
	if (r > 0)
		report_text(network, network->warnings, text);
	if (r != 0) {
		child_reply(&s->engine, id, r < 0 ? r : 0, r < 0 ? err.text : text, -1);
		return false;
	}
	if (network->request != 0)
		child_reply(&s->engine, network->request, -ECANCELED, "overtaken by a newer one",
			    -1);
	network->request = id;
	return true;
}

/* find_obstacle() - Report to the log and the engine that another program's rule takes packets */
static void find_obstacle(struct supervisor *s, const struct net_wanted *wanted,
			  unsigned int warnings)
{
	struct network *network = &s->network;
	char found[sizeof(network->obstacle)];

	if (netlink_obstacle(network->netlink, wanted, warnings, found) < 0 ||
	    strcmp(found, network->obstacle) == 0)
		return;
	memcpy(network->obstacle, found, sizeof(found));
	if (quota_take(&s->engine.quotas.said, clock_boottime())) {
		if (found[0])
			log_warn("%s", found);
		else
			log_info("no rule of another program takes our packets any more");
	}
	if (network->request == 0)
		network_send_interfaces(
			s); /* it requests the state again, and the answer has the warning */
}

/* apply_failed() - Retry with a growing delay; log a new error */
static void apply_failed(struct supervisor *s, const char text[static PRIVSEP_TEXT_MAX])
{
	struct network *network = &s->network;

	if (strcmp(network->failure, text) != 0 &&
	    quota_take(&s->engine.quotas.said, clock_boottime()))
		log_warn("the network state could not be set, trying again: %s", text);
	memcpy(network->failure, text, sizeof(network->failure));
	timer_arm(&s->loop, &network->repair, clock_boottime() + network->retry_wait);
	if (network->retry_wait < RETRY_WAIT_MAX)
		network->retry_wait *= 2;
}

/* apply() - Apply the whole state to the kernel; returns the number of changes */
static unsigned int apply(struct supervisor *s)
{
	struct network *network = &s->network;
	_cleanup_(prefixes_free) struct prefixes routes = {0};
	struct net_wanted wanted = wanted_of(s, &network->wish);
	struct net_report report = {0};
	struct error err = {0};
	char text[PRIVSEP_TEXT_MAX] = "";
	int r;

	if (!has_link(network))
		return 0; /* it is applied as soon as there is one */
	r = net_route_set_list(&network->routes, true, &routes);
	if (wanted.up) {
		wanted.addresses = network->addresses;
		wanted.routes = routes;
	}
	if (r < 0)
		error_set_errno(&err, r, "list the routes");
	else
		r = netlink_apply(network->netlink, &wanted, &report, &err);
	network->settled = r == 0 && !report.partial;
	if (r == 0 && report.partial) {
		/* The next turn applies the rest; the turn of a newer request does so too. */
		if (network->asked < 0)
			timer_arm(&s->loop, &network->apply, clock_boottime());
		return report.changes;
	}
	if (r == 0) {
		find_obstacle(s, &wanted, report.warnings);
		if (network->request == 0 && report.warnings != network->warnings)
			network_send_interfaces(s); /* as find_obstacle() does */
		report_text(network, report.warnings, text);
		if (network->failure[0] && quota_take(&s->engine.quotas.said, clock_boottime()))
			log_info("the network state is set");
		network->failure[0] = 0;
		network->retry_wait = RETRY_WAIT;
	} else {
		snprintf(text, sizeof(text), "%s", err.text);
		apply_failed(s, text);
	}
	if (network->request != 0)
		child_reply(&s->engine, network->request, r, text, -1);
	network->request = 0;
	return report.changes;
}

static void apply_fire(struct loop_timer *timer, nanoseconds now)
{
	struct supervisor *s = container_of(timer, struct supervisor, network.apply);
	_cleanup_close_ int memfd = TAKE_FD(s->network.asked);

	if (s->ending)
		return;
	if (memfd >= 0) {
		(void)quota_take(&s->engine.quotas.networks, now);
		if (!take_request(s, s->network.asked_id, memfd))
			return; /* it is done, or was refused: all routes follow */
	}
	if (s->network.have_wanted)
		apply(s);
}

static void repair_fire(struct loop_timer *timer, nanoseconds now)
{
	struct supervisor *s = container_of(timer, struct supervisor, network.repair);

	if (!s->network.have_wanted || s->ending)
		return;
	/* What turned out right (our own link coming up, say) costs nothing of the allowance. */
	if (apply(s) > 0)
		(void)quota_take(&s->network.repairs, now);
}

void network_send_interfaces(struct supervisor *s)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_INTERFACES_MAX);
	union privsep_message m = {.header.type = PRIVSEP_INTERFACES};
	_cleanup_close_ int memfd = -1;

	if (privsep_interfaces_encode(&s->network.interfaces, s->network.tun.ifindex, &bytes) < 0)
		return;
	memfd = privsep_memfd_seal(PRIVSEP_INTERFACES, buffer_head(&bytes), bytes.length);
	if (memfd >= 0)
		child_send(&s->engine, &m, &memfd, 1);
}

/* look() - Take a snapshot of the interfaces; a changed one is sent to the engine */
static void look(struct supervisor *s)
{
	struct interfaces seen = {0};
	struct error err = {0};

	if (net_interfaces_read(s->network.netlink, &seen, &err) < 0) {
		log_warn("can't read the interfaces, trying again: %s", err.text);
		timer_arm(&s->loop, &s->network.snapshot, clock_boottime() + RETRY_WAIT);
		return;
	}
	if (net_interfaces_equal(&seen, &s->network.interfaces)) {
		interfaces_free(&seen);
		return;
	}
	interfaces_free(&s->network.interfaces);
	s->network.interfaces = seen;
	network_send_interfaces(s);
	if (!s->network.have_wanted)
		return;
	if (judge(s, &s->network.wish, &s->network.routes, &err) < 0)
		log_warn("can't judge the routes again: %s", err.text);
	else if (s->network.asked < 0) /* else its turn comes, and applies this too */
		timer_arm(&s->loop, &s->network.apply, clock_boottime());
}

static void snapshot_fire(struct loop_timer *timer, nanoseconds now)
{
	(void)now;
	look(container_of(timer, struct supervisor, network.snapshot));
}

/* renew_tun() - Our link was deleted: a new one, and an engine that has its queues */
static void renew_tun(struct supervisor *s)
{
	bool first = has_link(&s->network);
	struct error err = {0};

	s->network.settled = false;
	tun_close(&s->network.tun);
	if (open_tun(s, &err) < 0) {
		if (first)
			log_error("our network link was deleted and can't be made again, trying on "
				  "and on: %s",
				  err.text);
		timer_arm(&s->loop, &s->network.renew, clock_boottime() + RETRY_WAIT);
		return;
	}
	/* Else addresses of the old link would count as another link's, and be refused. */
	look(s);
	if (s->engine.process.pid != 0)
		child_kill(&s->engine, "another program deleted our network link");
	else
		child_start(&s->engine);
	services_new_link(s);
	if (s->network.have_wanted)
		apply(s);
}

static void renew_fire(struct loop_timer *timer, nanoseconds now)
{
	struct supervisor *s = container_of(timer, struct supervisor, network.renew);

	(void)now;
	if (!s->ending)
		renew_tun(s);
}

static void events_ready(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, network.events);
	int seen = net_monitor_read(s->network.monitor);
	nanoseconds now = clock_boottime();

	(void)events;
	if (seen < 0) {
		log_error("the network monitor failed: %s", strerror(-seen));
		loop_remove(&s->loop, source);
		return;
	}
	if (s->ending)
		return;
	if ((seen & NET_EVENT_LINK_GONE) != 0 && has_link(&s->network))
		renew_tun(s);
	if ((seen & NET_EVENT_INTERFACES) != 0 && s->network.snapshot.at == 0)
		timer_arm(&s->loop, &s->network.snapshot, now + SNAPSHOT_WAIT);
	if ((seen & NET_EVENT_OURS) != 0 && s->network.have_wanted && s->network.repair.at == 0)
		timer_arm(&s->loop, &s->network.repair, now + quota_wait(&s->network.repairs, now));
}

void network_engine_gone(struct supervisor *s)
{
	s->network.request = 0;
	s->network.have_base = false;
	cleanup_close_at(&s->network.asked);
	s->network.asked = -1;
}

void network_close(struct supervisor *s)
{
	struct network *network = &s->network;
	struct error err = {0};

	loop_remove(&s->loop, &network->events);
	if (network->netlink && (has_link(network) || network->have_wanted) &&
	    netlink_teardown(network->netlink, s->options->start.table, network->tun.ifindex,
			     &err) < 0)
		log_warn("could not remove all of our network state: %s", err.text);
	tun_close(&network->tun);
	network->monitor = net_monitor_close(network->monitor);
	network->netlink = netlink_close(network->netlink);
	interfaces_free(&network->interfaces);
	privsep_network_free(&network->wish);
	net_route_set_free(&network->routes);
	prefixes_free(&network->addresses);
}
