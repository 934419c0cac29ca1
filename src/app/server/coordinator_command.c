/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_command.c - `pillion control …`: serve, or orders over the server's socket */
#include "app/server/coordinator_command.h"
#include "app/server/command.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/printable.h"
#include "server/coordinator/operator_orders.h"
#include "transport/unix_http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"usage: pillion control COMMAND\n"
	"\n"
	"A coordination server with everything on one machine, for pillion and tailscale.\n"
	"\n"
	"  serve                              run it, in the foreground\n"
	"  users [list]                       the owners of nodes\n"
	"  users create|delete NAME\n"
	"  keys create [--user NAME] [--reusable] [--ephemeral] [--tags tag:A,tag:B]\n"
	"              [--expiry 24h]         a key for one node, or for many (default: 1h)\n"
	"  keys list\n"
	"  keys expire PREFIX\n"
	"  nodes [list]                       all nodes, and pending logins\n"
	"  nodes show NODE                    NODE is a name, an id or an address\n"
	"  nodes approve LOGIN [--user NAME] [--tags …]\n"
	"                                     approve the node that shows a login URL\n"
	"  nodes reject LOGIN                 refuse it\n"
	"  page-key create|delete             a secret by which the page of a login URL approves\n"
	"  ssh [list]                         pending sessions of 'check' rules\n"
	"  ssh approve|reject SESSION\n"
	"  nodes expire|delete NODE\n"
	"  nodes rename NODE NAME\n"
	"  nodes tag NODE tag:A,tag:B         \"\" takes all tags away\n"
	"  nodes approve-routes NODE 10.0.0.0/8,…\n"
	"  ca                                 the authority of the nodes' certificates, as PEM:\n"
	"                                     programs that trust it reach all nodes by https\n"
	"  policy get                         the access rules\n"
	"  policy set|check FILE              \"-\" reads the standard input\n"
	"  policy delete --yes                afterwards every node may reach every other\n"
	"  debug netmap NODE                  the netmap of the node, as JSON\n"
	"\n"
	"All but serve take --socket PATH (default\n"
	"./pillion-control/control.sock or /var/lib/pillion-control/control.sock) and --json.\n"
	"\n"
	"Examples:\n"
	"  pillion control serve --url=https://vpn.example.com\n"
	"  pillion control keys create --reusable --expiry 90d\n";

/* clang-format off */
#define ORDER_FLAGS(FLAG) \
	FLAG(ORDER_FLAG_SOCKET, FLAG_OF("socket", FLAG_STRING, "PATH", "the server's socket for operators")) \
	FLAG(ORDER_FLAG_JSON, FLAG_ON("json", "print JSON")) \
	FLAG(ORDER_FLAG_USER, FLAG_OF("user", FLAG_STRING, "NAME", "the owner (default \"default\"; a new user is made)")) \
	FLAG(ORDER_FLAG_REUSABLE, FLAG_ON("reusable", "for many nodes")) \
	FLAG(ORDER_FLAG_EPHEMERAL, \
	     FLAG_ON("ephemeral", "nodes using this key are deleted some time after they disconnect")) \
	FLAG(ORDER_FLAG_TAGS, FLAG_OF("tags", FLAG_STRING, "TAGS", \
				      "tag:A,tag:B: nodes using this key have these tags and no owner")) \
	FLAG(ORDER_FLAG_EXPIRY, FLAG_OF("expiry", FLAG_PERIOD, "DURATION", \
					"how long the key is valid, as 12h or 90d (default 1h; 0: it never expires)")) \
	FLAG(ORDER_FLAG_YES, FLAG_ON("yes", "confirm 'policy delete'"))
/* clang-format on */

enum { ORDER_FLAGS(FLAG_ID) ORDER_FLAG_COUNT };

static const struct flag order_flags[ORDER_FLAG_COUNT] = {ORDER_FLAGS(FLAG_ROW)};

#define LIST_MARKS ", "                /* between the items of a list */
#define TIMEOUT    (30 * NSEC_PER_SEC) /* between two pieces of the answer */

struct order {
	const char *socket;
	struct flag_value flags[ORDER_FLAG_COUNT];
	const char **rest;
	int rest_count;
};

/* Printing */

/* put() - @text in @width columns, and a space at least */
static void put(const char *text, int width)
{
	printable_put(stdout, text, width - 1);
	putchar(' ');
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static bool is_true(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

/* put_time() - To the second, and the end of the line */
static void put_time(const char *text)
{
	char shown[20];

	printable(shown, sizeof(shown), text, strlen(text));
	puts(shown);
}

/* put_list() - The strings of a list, with commas */
static void put_list(const json_t *list, int width)
{
	char text[512] = "";
	size_t length = 0;

	for (size_t i = 0; i < json_array_size(list) && length < sizeof(text); i++)
		length +=
			(size_t)snprintf(text + length, sizeof(text) - length, "%s%s", i ? "," : "",
					 json_string_value(json_array_get(list, i)));
	put(text, width);
}

static void print_users(const json_t *users)
{
	json_t *user;
	size_t i;

	puts("ID    NAME                      CREATED");
	json_array_foreach(users, i, user) {
		printf("%-5lld ", (long long)json_integer_value(json_object_get(user, "id")));
		put(text_of(user, "name"), 26);
		put_time(text_of(user, "created"));
	}
}

static void print_keys(const json_t *keys)
{
	json_t *key;
	size_t i;

	puts("PREFIX        USER              STATE     KIND                TAGS              "
	     "EXPIRY");
	json_array_foreach(keys, i, key) {
		char kind[32];

		snprintf(kind, sizeof(kind), "%s%s", is_true(key, "reusable") ? "reusable" : "once",
			 is_true(key, "ephemeral") ? ",ephemeral" : "");
		put(text_of(key, "prefix"), 14);
		put(text_of(key, "user"), 18);
		put(is_true(key, "valid")                               ? "valid"
		    : is_true(key, "used") && !is_true(key, "reusable") ? "used"
									: "expired",
		    10);
		put(kind, 20);
		put_list(json_object_get(key, "tags"), 18);
		put_time(json_object_get(key, "expiry") ? text_of(key, "expiry") : "never");
	}
}

static void print_nodes(const json_t *answer)
{
	json_t *node;
	size_t i;

	puts("ID    NAME                  ADDRESS           OWNER             STATE     LAST SEEN");
	json_array_foreach(json_object_get(answer, "nodes"), i, node) {
		json_t *tags = json_object_get(node, "tags");

		printf("%-5lld ", (long long)json_integer_value(json_object_get(node, "id")));
		put(text_of(node, "name"), 22);
		put(json_string_value(json_array_get(json_object_get(node, "addresses"), 0)), 18);
		if (json_array_size(tags))
			put_list(tags, 18);
		else
			put(text_of(node, "user"), 18);
		put(is_true(node, "expired")  ? "expired"
		    : is_true(node, "online") ? "online"
					      : "offline",
		    10);
		put_time(is_true(node, "online") ? "" : text_of(node, "last_seen"));
	}
	json_array_foreach(json_object_get(answer, "logins"), i, node) {
		printf("pending: ");
		put(text_of(node, "hostname"), 1);
		printf("(approve with 'pillion control nodes approve ");
		printable_put(stdout, text_of(node, "id"), 0);
		printf("')\n");
	}
}

static void print_node(const json_t *node)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)node, name, value) {
		/* The first says no more than "online", the second is for programs. */
		if (strcmp(name, "connected") == 0 || strcmp(name, "authorized") == 0 ||
		    (json_is_array(value) && !json_array_size(value)))
			continue;
		put(name, 20);
		if (json_is_array(value))
			put_list(value, 1);
		else if (json_is_string(value))
			put(json_string_value(value), 1);
		else if (json_is_integer(value))
			printf("%lld", (long long)json_integer_value(value));
		else
			fputs(json_is_true(value) ? "yes" : "no", stdout);
		putchar('\n');
	}
}

static void print_checks(const json_t *checks)
{
	json_t *check;
	size_t i;

	puts("SESSION                           FROM              TO                AS");
	json_array_foreach(checks, i, check) {
		put(text_of(check, "id"), 34);
		put(text_of(check, "from"), 18);
		put(text_of(check, "to"), 18);
		put(text_of(check, "user"), 1);
		putchar('\n');
	}
}

static void print_key(const json_t *key)
{
	puts(text_of(key, "key"));
}

static void print_policy(const json_t *answer)
{
	fputs(text_of(answer, "policy"), stdout);
}

static void print_authority(const json_t *answer)
{
	fputs(text_of(answer, "certificate"), stdout);
}

static void print_any(const json_t *json)
{
	json_dumpf(json, stdout,
		   JSON_INDENT(2) | JSON_ENCODE_ANY |
			   (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0));
	putchar('\n');
}

/* warn_of_return() - A node that was deleted or expired may still have a valid key */
static void warn_of_return(const json_t *node)
{
	const char *key = text_of(node, "valid_auth_key");

	if (*key)
		complain(EXIT_OK,
			 "%s can join again: its key %s is still valid; expire it with "
			 "'pillion control keys expire %s'",
			 text_of(node, "name"), key, key);
}

/* Bodies */

static json_t *list_of(const char *text)
{
	json_t *list = json_array();
	_cleanup_free_ char *copy = strdup(text);
	char *save = NULL;

	for (char *item = copy ? strtok_r(copy, LIST_MARKS, &save) : NULL; item;
	     item = strtok_r(NULL, LIST_MARKS, &save))
		json_array_append_new(list, json_string(item));
	return list;
}

static json_t *body_of_owner(const struct order *o)
{
	const struct flag_value *tags = &o->flags[ORDER_FLAG_TAGS];

	return json_pack("{s:s*, s:o*}", "user", o->flags[ORDER_FLAG_USER].text, "tags",
			 tags->given ? list_of(tags->text) : NULL);
}

static json_t *body_of_key(const struct order *o)
{
	const struct flag_value *expiry = &o->flags[ORDER_FLAG_EXPIRY];
	json_t *body = body_of_owner(o);

	json_object_set_new(body, "reusable", json_boolean(o->flags[ORDER_FLAG_REUSABLE].on));
	json_object_set_new(body, "ephemeral", json_boolean(o->flags[ORDER_FLAG_EPHEMERAL].on));
	/* Rounded up: 0 means that it never expires. */
	if (expiry->given)
		json_object_set_new(
			body, "expiry_seconds",
			json_integer((expiry->number + NSEC_PER_SEC - 1) / NSEC_PER_SEC));
	return body;
}

static json_t *body_of_name(const struct order *o)
{
	return json_pack("{s:s}", "name", o->rest[o->rest_count - 1]);
}

static json_t *body_of_tags(const struct order *o)
{
	return json_pack("{s:o}", "tags", list_of(o->rest[1]));
}

static json_t *body_of_routes(const struct order *o)
{
	return json_pack("{s:o}", "routes", list_of(o->rest[1]));
}

static const struct {
	const char *words[2];
	int arguments;
	const char *method, *path;              /* "*" is the first argument */
	json_t *(*body)(const struct order *o); /* of the request, but for ORDER_TEXT */
	void (*print)(const json_t *answer);
	unsigned int traits;
} orders[] = {
#define ORDER(word, second, arguments, method, path, body, print, run, log, traits) \
	{{word, second}, arguments, method, "/v1/" path, body, print, traits},
	OPERATOR_ORDERS(ORDER)
#undef ORDER
};

#define FLAG(which) (1u << ORDER_FLAG_##which)

/* flags_of() - The flags that an order takes */
static unsigned int flags_of(size_t which)
{
	unsigned int traits = orders[which].traits;

	return FLAG(SOCKET) | FLAG(JSON) | (traits & ORDER_USER ? FLAG(USER) | FLAG(TAGS) : 0) |
	       (traits & ORDER_KEY ? FLAG(REUSABLE) | FLAG(EPHEMERAL) | FLAG(EXPIRY) : 0) |
	       (traits & ORDER_OPENS ? FLAG(YES) : 0);
}

/* begins() - Whether an order begins with @words, up to the first NULL of two */
static bool begins(size_t which, const char *const words[2])
{
	for (size_t i = 0; i < 2 && words[i]; i++)
		if (strcmp(words[i], orders[which].words[i]) != 0)
			return false;
	return true;
}

/* flags_under() - All flags of the orders that begin with @words; 0: no such order */
static unsigned int flags_under(const char *const words[2])
{
	unsigned int taken = 0;

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
		if (begins(i, words))
			taken |= flags_of(i);
	return taken;
}

/* help_lines() - The help of the commands that begin with @word */
static void help_lines(FILE *to, const char *word)
{
	size_t length = strlen(word);
	bool wanted = false;

	fprintf(to, "usage: pillion control COMMAND\n\n");
	for (const char *line = help, *end; (end = strchr(line, '\n')); line = end + 1) {
		/* A command stands after two spaces, what goes on from it after more. */
		bool command = strncmp(line, "  ", 2) == 0 && line[2] != ' ';

		if (command)
			wanted = strncmp(line + 2, word, length) == 0 && line[2 + length] == ' ';
		else
			wanted = wanted && *line == ' ';
		if (wanted)
			fprintf(to, "%.*s\n", (int)(end - line), line);
	}
}

/* help_of() - The help of the orders that begin with @words; exit code */
static int help_of(const char *const words[2])
{
	unsigned int taken = flags_under(words);
	struct flag shown[ORDER_FLAG_COUNT];
	struct flag_group group = {.title = "Flags", .flags = shown};

	if (!words[0] || !taken)
		return complain(EXIT_USAGE, "unknown command; 'pillion control "
					    "--help' lists them");
	for (size_t i = 0; i < ORDER_FLAG_COUNT; i++)
		if (taken & 1u << i)
			shown[group.count++] = order_flags[i];
	help_lines(stdout, words[0]);
	flags_print(&group);
	return EXIT_OK;
}

/* complete() - Print the words that may follow @argv, for completion; exit code */
static int complete(int argc, char **argv)
{
	const char *words[2] = {NULL}, *said = NULL;
	size_t count = 0;

	for (int i = 0; i < argc && count < 2; i++)
		if (argv[i][0] != '-')
			words[count++] = argv[i];
	if (count > 0 && strcmp(words[0], "serve") == 0) {
		flags_print_words(coordinator_flags, CONTROL_FLAG_COUNT);
		return EXIT_OK;
	}
	if (count == 0)
		puts("serve");
	for (size_t i = 0; count < 2 && i < ARRAY_SIZE(orders); i++) {
		const char *next = orders[i].words[count];

		/* The orders of a word stand together. */
		if (begins(i, words) && (!said || strcmp(said, next) != 0))
			puts(said = next);
	}
	for (size_t i = 0; count > 0 && i < ORDER_FLAG_COUNT; i++)
		if (flags_under(words) & 1u << i)
			flags_print_words(&order_flags[i], 1);
	return EXIT_OK;
}

/* path_of() - The order's path with the argument in it; false when that can't stand there */
static bool path_of(const char *pattern, const char *argument, char *out, size_t size)
{
	const char *hole = strchr(pattern, '*'), *slash;

	if (!hole) {
		snprintf(out, size, "%s", pattern);
		return true;
	}
	/* What a page is about may be given as the page's whole URL. */
	slash = strstr(argument, "://") ? strrchr(argument, '/') : NULL;
	argument = slash ? slash + 1 : argument;
	for (const char *c = argument; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-_.@+:", *c))
			return false;
	return *argument && (size_t)snprintf(out, size, "%.*s%s%s", (int)(hole - pattern), pattern,
					     argument, hole + 1) < size;
}

static int read_input(const char *path, struct buffer *out, struct error *err)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	int r = file ? buffer_reserve(out, LIMIT_RPC_BODY) : -errno;

	if (r == 0) {
		out->length = fread(buffer_end(out), 1, LIMIT_RPC_BODY, file);
		r = ferror(file) ? -errno : !feof(file) && getc(file) != EOF ? -EMSGSIZE : 0;
	}
	if (file && file != stdin)
		fclose(file);
	return r == 0 ? 0 : error_set_errno(err, r, "read %s", path);
}

/*
 * ask() - One request over the operator's socket
 * @ret_json: the answer, or NULL where it has none; also where the server refused
 *
 * Return: 0, or negative errno with @err: the server's own words where it refused
 */
static int ask(const char *socket, const char *method, const char *path, struct buffer *body,
	       json_t **ret_json, struct error *err)
{
	_cleanup_(unix_http_close) struct unix_http h = {.fd = -1};
	int r = unix_http_connect(&h, socket, true, err);
	const char *text;

	if (r == -EPERM || r == -EINVAL)
		return r;
	if (r < 0)
		return error_set(err, r,
				 "no server answers at %s (%s): start one with 'pillion control "
				 "serve', or name its socket by --socket",
				 socket, strerror(-r));
	r = unix_http_send(&h, "control", method, path, buffer_head(body), body->length);
	while (r >= 0 && !h.ended) {
		r = unix_http_receive(&h, clock_boottime() + TIMEOUT);
		r = r == 0 ? -ETIMEDOUT : r;
	}
	if (r < 0)
		return error_set_errno(err, r, "the server at %s did not answer", socket);
	if (h.body.length)
		*ret_json = json_loadb((char *)buffer_head(&h.body), h.body.length, 0, NULL);
	if (h.status < 300)
		return 0;
	text = json_string_value(json_object_get(*ret_json, "error"));
	return error_set(err, -EINVAL, "%s", text ? text : "the server refused");
}

/* complain_all() - @err, and what else is among @errors, which may be NULL */
static void complain_all(const struct error *err, const json_t *errors)
{
	const json_t *one;
	size_t i;

	complain(EXIT_FAILS, "%s", err->text);
	json_array_foreach(errors, i, one)
		if (json_is_string(one) && strcmp(json_string_value(one), err->text) != 0)
			complain(EXIT_FAILS, "%s", json_string_value(one));
}

static int run(const struct order *o, size_t which)
{
	const struct flag_value *user = &o->flags[ORDER_FLAG_USER],
				*tags = &o->flags[ORDER_FLAG_TAGS];
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {0};
	json_t *json = NULL, *answer = NULL;
	char path[512];
	int r = 0;

	if (!path_of(orders[which].path, o->rest_count ? o->rest[0] : "", path, sizeof(path)))
		return complain(EXIT_USAGE,
				*o->rest[0] ? "'%s' is not a valid name" : "a name is required",
				o->rest[0]);
	if (orders[which].traits & ORDER_OPENS && !o->flags[ORDER_FLAG_YES].on)
		return complain(EXIT_USAGE, "without a policy every node may reach every other; to "
					    "confirm, add --yes");
	if (user->given && !*user->text)
		return complain(EXIT_USAGE, "--user is empty");
	if (tags->given && !tags->text[strspn(tags->text, LIST_MARKS)])
		return complain(EXIT_USAGE, "--tags is empty");
	if (orders[which].traits & ORDER_TEXT) {
		r = read_input(o->rest[0], &body, &err);
	} else if (orders[which].body) {
		_cleanup_free_ char *text = NULL;

		json = orders[which].body(o);
		text = json_dumps(json, JSON_COMPACT);
		r = text ? buffer_append(&body, text, strlen(text))
			 : error_set(&err, -EINVAL, "the arguments are not valid UTF-8");
	}
	if (r == 0)
		r = ask(o->socket, orders[which].method, path, &body, &answer, &err);
	if (r < 0)
		complain_all(&err, json_object_get(answer, "errors"));
	else if (o->flags[ORDER_FLAG_JSON].on && answer)
		print_any(answer);
	else if (answer && orders[which].print)
		orders[which].print(answer);
	json_decref(json);
	json_decref(answer);
	buffer_free(&body);
	return r < 0 ? EXIT_FAILS : EXIT_OK;
}

static int order(int argc, char **argv)
{
	_cleanup_free_ const char **words = calloc((size_t)argc + 1, sizeof(*words));
	_cleanup_free_ char *socket = NULL;
	struct order o = {0};
	struct flag_group group = {"Flags", order_flags, o.flags, ORDER_FLAG_COUNT};
	struct flag_reader reader = {.groups = &group,
				     .count = 1,
				     .source = FLAGS_COMMAND_LINE,
				     .where = "pillion control"};
	struct error err = {0};
	int count, used;

	if (!words)
		return complain(EXIT_FAILS, "out of memory");
	count = flags_parse(&reader, argc, argv, words, &err);
	if (count == -ECANCELED)
		return help_of((const char *[]){words[0], words[0] ? words[1] : NULL});
	if (count < 0) {
		fprintf(stderr, "%s\n", err.text);
		return EXIT_USAGE;
	}
	socket = coordinator_config_socket(o.flags[ORDER_FLAG_SOCKET].text);
	used = count > 1 ? 2 : 1;
	o.socket = socket ? socket : "";
	o.rest = words + used;
	o.rest_count = count - used;
	for (size_t i = 0; count > 0 && i < ARRAY_SIZE(orders); i++) {
		const char *const called[2] = {words[0], used > 1 ? words[1] : "list"};

		if (!begins(i, called))
			continue;
		for (size_t f = 0; f < ORDER_FLAG_COUNT; f++)
			if (o.flags[f].given && !(flags_of(i) & 1u << f))
				return complain(EXIT_USAGE,
						"'%s %s' takes no --%s; see 'pillion control %s "
						"--help'",
						called[0], called[1], order_flags[f].name,
						called[0]);
		if (o.rest_count != orders[i].arguments)
			return complain(EXIT_USAGE, "%s %s takes %d argument(s), not %d", called[0],
					called[1], orders[i].arguments, o.rest_count);
		return run(&o, i);
	}
	if (count > 0 && flags_under((const char *[]){words[0], NULL})) {
		help_lines(stderr, words[0]);
		return complain(EXIT_USAGE, "unknown command: one of these follows '%s'", words[0]);
	}
	return complain(EXIT_USAGE, "unknown command; 'pillion control --help' lists them");
}

int run_control(int argc, char **argv)
{
	complain_as("pillion control");
	if (argc < 2) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "serve") == 0)
		return coordinator_serve(argc - 1, argv + 1);
	if (strcmp(argv[1], "complete") == 0)
		return complete(argc - 2, argv + 2);
	return order(argc - 1, argv + 1);
}
