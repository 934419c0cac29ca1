/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_table.c - the table of commands */
#include "app/cli/command.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COMMANDS_MAX 32

static const struct flag status_flags[] = {
	[STATUS_JSON] = FLAG_ON("json", "print the whole status as JSON"),
	[STATUS_PEERS] = FLAG_ON("peers", "list the peers (default true)"),
	[STATUS_ACTIVE] = FLAG_ON("active", "list only nodes with traffic"),
	[STATUS_SELF] = FLAG_ON("self", "list this node (default true)"),
	[STATUS_HEADER] = FLAG_ON("header", "print a line of column names"),
	[STATUS_WEB] = FLAG_THEIRS("web", FLAG_BOOL, FLAG_SILENT, NULL),
	FLAG_THEIRS("listen", FLAG_STRING, FLAG_SILENT, NULL),
	FLAG_THEIRS("browser", FLAG_BOOL, FLAG_SILENT, NULL),
};
static const struct flag ip_flags[] = {
	[IP_FIRST] = FLAG_ON("1", "print only the first address"),
	[IP_V4] = FLAG_ON("4", "print only the IPv4 address"),
	[IP_V6] = FLAG_ON("6", "print only the IPv6 address"),
	[IP_ASSERT] = FLAG_OF("assert", FLAG_ADDRESS, "IP",
			      "print nothing; exit code 0 when it is one of this node's, else 1"),
};
static const struct flag ping_flags[] = {
	[PING_COUNT] = FLAG_NUMBER("c", "COUNT", 0, INT64_MAX,
				   "stop after so many pings; 0: never (default 10)"),
	[PING_TSMP] =
		FLAG_ON("tsmp", "through WireGuard, answered by the peer's engine, not its kernel"),
	[PING_ICMP] = FLAG_ON("icmp", "an ICMP echo through WireGuard"),
	[PING_PEERAPI] = FLAG_ON("peerapi", "by HTTP to the peer's PeerAPI"),
	[PING_SIZE] = FLAG_THEIRS("size", FLAG_INTEGER, FLAG_NOT_YET, NULL),
	[PING_TIMEOUT] =
		FLAG_OF("timeout", FLAG_DURATION, "DURATION", "for one answer (default 5s)"),
	[PING_UNTIL_DIRECT] =
		FLAG_ON("until-direct", "stop once the path is direct (default true)"),
	FLAG_THEIRS("verbose", FLAG_BOOL, FLAG_SILENT, NULL),
};
static const struct flag down_flags[] = {
	FLAG_THEIRS("accept-risk", FLAG_STRING, FLAG_SILENT, NULL),
	FLAG_THEIRS("reason", FLAG_STRING, FLAG_SILENT, NULL),
};
static const struct flag logout_flags[] = {FLAG_THEIRS("reason", FLAG_STRING, FLAG_SILENT, NULL)};
static const struct flag whois_flags[] = {
	[WHOIS_JSON] = FLAG_ON("json", "print JSON"),
	[WHOIS_PROTO] = FLAG_OF("proto", FLAG_CHOICE, "tcp|udp", "protocol of an IP:PORT"),
};
/* Flags that serve and funnel share, by enum serve_flag. */
#define SERVE_FLAGS                                                                           \
	[SERVE_FLAG_BG] = FLAG_ON("bg", "keep on serving when the command has ended"),        \
	[SERVE_FLAG_TCP] = FLAG_NUMBER("tcp", "PORT", 1, 65535, "forward TCP connections"),   \
	[SERVE_FLAG_TLS_TCP] = FLAG_NUMBER("tls-terminated-tcp", "PORT", 1, 65535,            \
					   "end TLS, and forward the bytes inside"),          \
	[SERVE_FLAG_SET_PATH] =                                                               \
		FLAG_OF("set-path", FLAG_STRING, "PATH", "serve the target below this path"), \
	[SERVE_FLAG_PROXY_PROTOCOL] = FLAG_NUMBER("proxy-protocol", "VERSION", 0, 2,          \
						  "begin TCP connections with a PROXY line"), \
	[SERVE_FLAG_YES] = FLAG_ON("yes", "with off: remove several handlers of a port"),     \
	[SERVE_FLAG_JSON] = FLAG_ON("json", "with status: print the configuration as JSON")

static const struct flag serve_flags[] = {
	SERVE_FLAGS,
	[SERVE_FLAG_HTTPS] = FLAG_NUMBER("https", "PORT", 1, 65535, "serve HTTPS (default 443)"),
	[SERVE_FLAG_HTTP] = FLAG_NUMBER("http", "PORT", 1, 65535, "serve HTTP"),
	[SERVE_FLAG_APP_CAPS] = FLAG_OF("accept-app-caps", FLAG_STRING, "CAP,CAP",
					"application capabilities of peers that the app is told"),
	FLAG_THEIRS("service", FLAG_STRING, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("tun", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("all", FLAG_BOOL, FLAG_NOT_YET, NULL),
};
static const struct flag funnel_flags[] = {
	SERVE_FLAGS,
	[SERVE_FLAG_HTTPS] = FLAG_NUMBER("https", "PORT", 1, 65535,
					 "serve HTTPS at 443 (default), 8443 or 10000"),
	[SERVE_FLAG_HTTP] = FLAG_THEIRS("http", FLAG_INTEGER, FLAG_BINDING,
					"the internet comes by HTTPS alone"),
	[SERVE_FLAG_APP_CAPS] = FLAG_THEIRS("accept-app-caps", FLAG_STRING, FLAG_BINDING,
					    "callers of the internet have no capabilities"),
};
static const struct flag cert_flags[] = {
	[CERT_FLAG_FILE] =
		FLAG_OF("cert-file", FLAG_STRING, "PATH",
			"certificates; '-': stdout (default DOMAIN.crt without --key-file)"),
	[CERT_FLAG_KEY] =
		FLAG_OF("key-file", FLAG_STRING, "PATH",
			"private key; '-': stdout (default DOMAIN.key without --cert-file)"),
	[CERT_FLAG_VALIDITY] = FLAG_OF("min-validity", FLAG_DURATION, "DURATION",
				       "how long it has to be good for at least (default 0)"),
	[CERT_FLAG_CA] = FLAG_ON("ca", "print the authorities that clients have to trust"),
	FLAG_THEIRS("serve-demo", FLAG_BOOL, FLAG_NOT_YET, "use 'pillion serve text:hello'"),
};
static const struct flag version_flags[] = {
	[VERSION_JSON] = FLAG_ON("json", "print JSON"),
	[VERSION_DAEMON] = FLAG_ON("daemon", "ask the running daemon for its version too"),
	[VERSION_UPSTREAM] = FLAG_THEIRS("upstream", FLAG_BOOL, FLAG_SILENT, NULL),
	FLAG_THEIRS("track", FLAG_STRING, FLAG_SILENT, NULL),
};
static const struct flag daemon_own_flags[] = {
	[DAEMON_OWN_CLEAN_UP] = FLAG_ON(
		"cleanup", "remove the interface, routes and rules of a killed daemon, and end"),
	[DAEMON_OWN_VERSION] = FLAG_ON("version", "print the version, and end"),
};
static const struct flag connect_flags[] = {
	[CONNECT_FOREGROUND] = FLAG_ON(
		"foreground", "run the daemon in this process instead of in the background"),
	[CONNECT_IF_CONFIGURED] =
		FLAG_ON("if-configured", "do nothing when there is neither a key nor a login"),
};
static const struct flag disconnect_flags[] = {
	[DISCONNECT_TIMEOUT] = FLAG_OF("timeout", FLAG_DURATION, "DURATION",
				       "how long to wait for the end of the daemon (default 15s)"),
};

#define FLAGS(table) .flags = table, .flag_count = ARRAY_SIZE(table)

const struct command commands[] = {
	{
		.name = "connect",
		.summary = "Join the tailnet, with a daemon in the background if none runs",
		.description = "Reads the status first. On a connected node it changes only "
			       "settings that differ. Without a daemon it starts one in the "
			       "background. Then it applies the settings as 'pillion up' does, "
			       "and waits until the node is running. It is safe to call it at "
			       "every start of a machine or container.\n\n"
			       "Settings without a flag come from the variables TS_AUTHKEY, "
			       "TS_AUTHKEY_FILE, TS_HOSTNAME, TS_LOGIN_SERVER, TS_EXTRA_ARGS and "
			       "the other TS_* variables of 'pillion run'. When the node is not "
			       "running in time, the exit code is 1, and the daemon keeps "
			       "trying.",
		.examples = "pillion connect --login-server=https://vpn.example.com "
			    "--auth-key=file:/run/secrets/key\n"
			    "\tjoin by the key in a file\n"
			    "pillion connect --if-configured --timeout=30s\n"
			    "\tin a start-up hook: does nothing where no key is set\n",
		FLAGS(connect_flags),
		.tables = TAKES_SETTINGS | TAKES_LOGIN | TAKES_DAEMON,
		.run = run_connect,
	},
	{
		.name = "disconnect",
		.summary = "End the daemon in the background and clean up",
		.description = "Waits until the daemon has removed its interface, routes and "
			       "rules. An ephemeral node is logged out. Another node keeps its "
			       "login, so that 'pillion connect' needs no key. Exit code 0 when "
			       "no daemon runs.",
		.examples = "pillion disconnect\n\tleave the tailnet until the next connect\n",
		FLAGS(disconnect_flags),
		.tables = TAKES_SOCKET,
		.run = run_disconnect,
	},
	{
		.name = "up",
		.summary = "Bring the node up, logging in if needed",
		.description = "Changes only the settings whose flags are given, brings the node "
			       "up, and waits until it is running. Without a key and without a "
			       "login it prints the URL at which a person logs in.",
		.examples = "pillion up\n\tconnect again with the settings as they are\n"
			    "pillion up --login-server=https://vpn.example.com --qr\n"
			    "\tlog in with a browser, or a phone that scans the code\n"
			    "pillion up --auth-key=file:/run/secrets/key --advertise-tags=tag:web\n"
			    "\tlog in by a key\n",
		.tables = TAKES_SETTINGS | TAKES_LOGIN | TAKES_SOCKET,
		.run = run_up,
	},
	{
		.name = "down",
		.summary = "Take the node down, keeping its login",
		.description = "The daemon keeps running and the node stays registered.",
		.examples = "pillion down\n\tdisconnect until 'pillion up'\n",
		FLAGS(down_flags),
		.tables = TAKES_SOCKET,
		.run = run_down,
	},
	{
		.name = "set",
		.summary = "Change single settings",
		.description = "Changes only the settings whose flags are given.",
		.examples = "pillion set --hostname=web --shields-up\n"
			    "\trename the node and refuse incoming connections\n"
			    "sudo pillion set --operator=$USER\n"
			    "\tlet this user change the node without root\n",
		.tables = TAKES_SETTINGS | TAKES_SOCKET,
		.run = run_set,
	},
	{
		.name = "login",
		.summary = "Log in",
		.description = "As 'pillion up', for a node that is not logged in. To log in "
			       "anew, add --force-reauth, or log out first.",
		.examples = "pillion login --qr\n\tprint the URL, and as a QR code\n",
		.tables = TAKES_SETTINGS | TAKES_LOGIN | TAKES_SOCKET,
		.run = run_login,
	},
	{
		.name = "logout",
		.summary = "Log out: the node key expires and is forgotten",
		.description = "The next login makes a new node.",
		.examples = "pillion logout\n\tleave the tailnet for good\n",
		FLAGS(logout_flags),
		.tables = TAKES_SOCKET,
		.run = run_logout,
	},
	{
		.name = "status",
		.summary = "Show the node, its peers and its problems",
		.description = "Exit code 0 when the node is running, 1 when it is not.",
		.examples = "pillion status\n\tthe node and its peers\n"
			    "pillion status --json | jq -r .BackendState\n\tfor scripts\n"
			    "pillion status --peers=false\n\tonly this node\n",
		FLAGS(status_flags),
		.tables = TAKES_SOCKET,
		.run = run_status,
	},
	{
		.name = "ip",
		.summary = "Print the tailnet addresses of this node or a peer",
		.arguments = "[HOST]",
		.description = "HOST is a name in the tailnet or an address.",
		.examples = "pillion ip -4\n\tthe IPv4 address of this node\n"
			    "pillion ip laptop\n\tthe addresses of a peer\n",
		FLAGS(ip_flags),
		.tables = TAKES_SOCKET,
		.run = run_ip,
	},
	{
		.name = "ping",
		.summary = "Ping a peer inside of the tailnet and show the path",
		.arguments = "HOST",
		.description = "Prints for each answer whether it came directly or by a relay. "
			       "Stops after 10 pings, or once the path is direct. Exit code 1 "
			       "when no answer came.",
		.examples = "pillion ping laptop\n\tuntil the path is direct\n"
			    "pillion ping -c 1 --tsmp 100.64.0.2\n\tonce, through WireGuard\n",
		FLAGS(ping_flags),
		.tables = TAKES_SOCKET,
		.run = run_ping,
	},
	{
		.name = "whois",
		.summary = "Show the node and user behind a tailnet address",
		.arguments = "IP[:PORT]",
		.description = "For a service that wants to know the peer of a connection.",
		.examples = "pillion whois 100.64.0.2\n\tthe node with that address\n",
		FLAGS(whois_flags),
		.tables = TAKES_SOCKET,
		.run = run_whois,
	},
	{
		.name = "cert",
		.summary = "Get a certificate and its key",
		.arguments = "DOMAIN",
		.description =
			"DOMAIN is the node's name in the tailnet. Only root and the operator may "
			"see the key. Without ACME (see TS_ACME_CHALLENGE in 'pillion run --help') "
			"an authority of 'pillion control' or of the node signs, whose certificate "
			"--ca prints.",
		.examples = "pillion cert app.tail1234.ts.net\n"
			    "\twrite app.tail1234.ts.net.crt and .key\n"
			    "pillion cert --ca >app-ca.pem\n\tfor clients: curl --cacert "
			    "app-ca.pem …\n",
		FLAGS(cert_flags),
		.tables = TAKES_SOCKET,
		.run = run_cert,
	},
	{
		.name = "serve",
		.summary = "Serve HTTPS, HTTP or TCP in front of an app",
		.arguments = "status|reset|TARGET|off",
		.description =
			"TARGET is a port of 127.0.0.1, HOST:PORT, a URL, a file or folder, "
			"unix:/PATH or text:TEXT. Files and Unix sockets lie below the "
			"folders of --serve-root (TS_SERVE_ROOT) of the daemon. "
			"The port is served until the command ends (Ctrl-C). With --bg "
			"it is stored with the node's login and outlives a restart. While "
			"TS_SERVE_CONFIG names a file, the file is in "
			"force, and changes by command are refused.\n\n"
			"'status' lists the served ports, 'off' closes the port of the flags, "
			"'reset' ends everything.",
		.examples = "pillion serve 8080\n"
			    "\thttps://NAME/ leads to http://127.0.0.1:8080, until Ctrl-C\n"
			    "pillion serve --bg 8080\n\tthe same for good\n"
			    "pillion serve --bg --tcp=5432 5432\n\tforward connections\n"
			    "pillion serve status\n\tlist the served ports\n"
			    "pillion serve --https=443 off\n\tend it\n",
		FLAGS(serve_flags),
		.tables = TAKES_SOCKET,
		.run = run_serve,
	},
	{
		.name = "funnel",
		.summary = "Serve an app to the internet",
		.arguments = "status|reset|TARGET|off",
		.description =
			"As 'pillion serve', and ingress nodes may bring connections of the "
			"internet to the port: those of Tailscale, if the policy allows it, or "
			"your own ('pillion ingress'), which TS_INGRESS_FROM (--ingress-from) "
			"names. Ports are 443, 8443 and 10000. 'pillion serve' on the same port "
			"keeps it for the tailnet alone.",
		.examples = "pillion funnel 8080\n"
			    "\thttps://NAME/ leads to http://127.0.0.1:8080, until Ctrl-C\n"
			    "pillion funnel --bg 8080\n\tthe same for good\n"
			    "pillion funnel --bg --tls-terminated-tcp=10000 5432\n"
			    "\tTLS ends here, and the app gets the bytes inside\n"
			    "pillion funnel status\n\tlist the served ports\n"
			    "pillion funnel --https=443 off\n\tend it\n",
		FLAGS(funnel_flags),
		.tables = TAKES_SOCKET,
		.run = run_funnel,
	},
	{
		.name = "version",
		.summary = "Print the version",
		.description = "The second line is the version that the control server receives.",
		.examples = "pillion version --daemon\n\tof this program and of the daemon\n",
		FLAGS(version_flags),
		.tables = TAKES_SOCKET,
		.run = run_version,
	},
	{
		.name = "daemon",
		.summary = "Run the daemon in the foreground, configured by flags alone",
		.description = "Needs NET_ADMIN and /dev/net/tun. Log in with 'pillion up' from "
			       "another terminal. 'tailscaled' is another name of this command. "
			       "HTTPS_PROXY and NO_PROXY name the proxy for control and relays. "
			       "PILLION_AEAD names the library that encrypts packets: ipsec-mb, "
			       "openssl or libsodium; without it the fastest one is taken.",
		.examples = "pillion daemon --statedir=/var/lib/tailscale\n\tas a service does\n"
			    "pillion daemon --state=mem:\n\tkeep nothing: an ephemeral node\n",
		FLAGS(daemon_own_flags),
		.tables = TAKES_DAEMON,
		.run = run_daemon,
	},
	{
		.name = "run",
		.summary = "Run as the sidecar of a container, configured by the TS_* variables",
		.description = "The entry point of the container image; 'containerboot' is "
			       "another name of it. Reads the variables of the official image, "
			       "joins the tailnet, and stays. It ends by itself only for errors "
			       "that waiting can't heal.\n\n"
			       "HTTPS_PROXY (http://[user:password@]host:port) and NO_PROXY name "
			       "the proxy for control and relays. PILLION_AEAD names the library "
			       "that encrypts packets: ipsec-mb, openssl or libsodium; without it "
			       "the fastest one is taken. PILLION_DISABLE turns "
			       "offloads off, separated by commas: tun-headers, tun-tso, "
			       "tun-uso, udp-gso, udp-gro.",
		.examples = "TS_AUTHKEY=file:/run/secrets/key TS_STATE_DIR=/var/lib/tailscale "
			    "pillion run\n\tas the image does\n",
		.run = run_entrypoint,
	},
	{
		.name = "control",
		.summary = "Run your own coordination server, and administrate it",
		.arguments = "COMMAND …",
		.description = "'pillion control --help' lists its commands.",
		.examples =
			"pillion control serve\n"
			"\tin an empty folder: creates all it needs, and prints the next steps\n",
		.passes = true,
		.run = run_server,
	},
	{
		.name = "derp",
		.summary = "Run a relay without a coordination server",
		.arguments = "…",
		.description = "'pillion derp --help' lists its flags.",
		.examples = "pillion derp --help\n\tits flags\n",
		.passes = true,
		.run = run_server,
	},
	{
		.name = "ingress",
		.summary = "Take connections from the internet for nodes that funnel",
		.arguments = "…",
		.description = "'pillion ingress --help' lists its flags.",
		.examples = "pillion ingress --help\n\tits flags\n",
		.passes = true,
		.run = run_server,
	},
	{
		.name = "headscale",
		.summary = "Keep a Headscale running, and create accounts and devices on one",
		.arguments = "COMMAND …",
		.description = "'pillion headscale --help' lists its commands.",
		.examples = "pillion headscale run --url https://headscale.example.com:8443\n"
			    "\tkeep a Headscale of this machine running\n"
			    "pillion headscale provision --url https://headscale.example.com "
			    "--account alice --device laptop\n"
			    "\tcreate the user and a key, unless they exist\n",
		.passes = true,
		.run = run_server,
	},
	{
		.name = "completion",
		.summary = "Print the completion script of a shell",
		.arguments = "bash|zsh|fish",
		.description = "Put the output where the shell looks for completions.",
		.examples = "pillion completion bash > /etc/bash_completion.d/pillion\n"
			    "\tfor all users of bash\n",
		.run = run_completion,
	},
	{
		.name = "help",
		.summary = "Show the help of a command",
		.arguments = "[COMMAND]",
		.description = "The same as COMMAND --help.",
		.examples = "pillion help connect\n\tread about connect\n",
		.hidden = true,
		.run = run_help,
	},
	{
		.name = "manual",
		.summary = "Print the manual page",
		.description = "In the language of man(7).",
		.examples = "pillion manual | man -l -\n\tread it\n",
		.hidden = true,
		.run = run_manual,
	},
};
const size_t command_count = ARRAY_SIZE(commands);
_Static_assert(ARRAY_SIZE(commands) <= COMMANDS_MAX, "room for the names");

static const struct flag socket_flag = {
	.name = "socket",
	.argument = "PATH",
	.help = "of the daemon (default: $TS_SOCKET, else the usual place)",
	.kind = FLAG_STRING,
};
struct flag_value command_socket;

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < command_count; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

size_t command_groups(const struct command *c, struct command_line *line,
		      struct flag_group ret[static FLAG_GROUPS_MAX])
{
	size_t count = 0;

#define ADD(title_, flags_, values_, first, end)                                             \
	ret[count++] = (struct flag_group)                                                   \
	{                                                                                    \
		.title = title_, .flags = (flags_) + (first), .values = (values_) + (first), \
		.count = (end) - (first)                                                     \
	}
	if (c->flag_count > 0)
		ADD("Flags", c->flags, line->own, 0, c->flag_count);
	if (c->tables & TAKES_SETTINGS)
		ADD("Settings", prefs_flags, line->prefs, 0, PREFS_SETTINGS_END);
	if (c->tables & TAKES_LOGIN)
		ADD("Logging in", prefs_flags, line->prefs, PREFS_AUTH_KEY, PREFS_OURS_END);
	if (c->tables & TAKES_SETTINGS)
		ADD("", prefs_flags, line->prefs, PREFS_OURS_END, PREFS_FLAG_COUNT);
	if (c->tables & TAKES_DAEMON)
		ADD("Daemon", daemon_flags, line->daemon, 0, DAEMON_FLAG_COUNT);
	if (c->tables & TAKES_SOCKET)
		ADD("Common flags", &socket_flag, &command_socket, 0, 1);
#undef ADD
	return count;
}

/* Commands of the official client that pillion lacks. */
static const char *const not_yet[] = {
	"appc-routes", "bugreport",  "configure", "debug",    "dns",    "drive",     "exit-node",
	"file",        "get",        "id-token",  "licenses", "lock",   "metrics",   "nc",
	"netcheck",    "routecheck", "service",   "ssh",      "switch", "syspolicy", "systray",
	"update",      "wait",       "web",       "whoami",
};

int command_unknown(const char *name)
{
	const char *names[COMMANDS_MAX], *near;

	for (size_t i = 0; i < ARRAY_SIZE(not_yet); i++)
		if (strcmp(name, not_yet[i]) == 0)
			return complain(EXIT_FAILS,
					"'%s' is not supported yet; 'pillion --help' lists the "
					"supported commands",
					name);
	for (size_t i = 0; i < command_count; i++)
		names[i] = commands[i].name;
	near = value_nearest(name, names, command_count);
	if (near)
		return complain(EXIT_USAGE, "unknown command '%.64s'; did you mean '%s'?", name,
				near);
	return complain(EXIT_USAGE, "unknown command '%.64s'; 'pillion --help' lists them", name);
}
