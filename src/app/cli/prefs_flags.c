/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/prefs_flags.c - the flags of `up`, and the prefs that they change */
#include "app/cli/prefs_flags.h"

#include "base/cleanup.h"
#include "base/secret.h"
#include "node/prefs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SECRET_FILE_MAX 4096
#define HOSTNAME_MAX    63 /* a label of DNS */

const struct flag prefs_flags[PREFS_FLAG_COUNT] = {
	[PREFS_ACCEPT_DNS] =
		FLAG_ON("accept-dns", "take the tailnet's DNS settings (default true)"),
	[PREFS_ACCEPT_ROUTES] =
		FLAG_ON("accept-routes", "use the subnet routes that other nodes advertise"),
	[PREFS_ADVERTISE_TAGS] = FLAG_OF("advertise-tags", FLAG_STRING, "TAGS",
					 "tags to ask for, as 'tag:web,tag:ci'"),
	[PREFS_HOSTNAME] = FLAG_OF("hostname", FLAG_STRING, "NAME",
				   "name in the tailnet, instead of the machine's"),
	[PREFS_LOGIN_SERVER] = FLAG_OF("login-server", FLAG_STRING, "URL",
				       "control server, such as https://vpn.example.com"),
	[PREFS_NICKNAME] = FLAG_OF("nickname", FLAG_STRING, "NAME", "name of this account"),
	[PREFS_OPERATOR] = FLAG_OF("operator", FLAG_STRING, "USER",
				   "local user allowed to change the node without root"),
	[PREFS_SHIELDS_UP] = FLAG_ON("shields-up", "refuse all incoming connections"),

	[PREFS_AUTH_KEY] = FLAG_ALIASED("auth-key", "authkey", FLAG_STRING, "KEY",
					"log in by this key; 'file:PATH' reads it from a file"),
	[PREFS_FORCE_REAUTH] = FLAG_ON("force-reauth", "log in again with a new node key"),
	[PREFS_JSON] = FLAG_ON("json", "print JSON"),
	[PREFS_QR] = FLAG_ON("qr", "print the login URL as a QR code too"),
	[PREFS_RESET] = FLAG_ON("reset", "put settings that are not given back to their defaults"),
	[PREFS_TIMEOUT] = FLAG_OF("timeout", FLAG_DURATION, "DURATION",
				  "give up waiting for Running after this long (default: never)"),

	[PREFS_OURS_END] = FLAG_THEIRS("advertise-connector", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("advertise-exit-node", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("advertise-routes", FLAG_STRING, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("audience", FLAG_STRING, FLAG_NOT_YET, "log in by --auth-key"),
	FLAG_THEIRS("client-id", FLAG_STRING, FLAG_NOT_YET, "log in by --auth-key"),
	FLAG_THEIRS("client-secret", FLAG_STRING, FLAG_NOT_YET, "log in by --auth-key"),
	FLAG_THEIRS("id-token", FLAG_STRING, FLAG_NOT_YET, "log in by --auth-key"),
	FLAG_THEIRS("exit-node", FLAG_STRING, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("exit-node-allow-lan-access", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("snat-subnet-routes", FLAG_BOOL, FLAG_NOT_YET,
		    "it goes with --advertise-routes"),
	FLAG_THEIRS("stateful-filtering", FLAG_BOOL, FLAG_NOT_YET,
		    "it goes with --advertise-routes"),
	FLAG_THEIRS("ssh", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("webclient", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("relay-server-port", FLAG_STRING, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("relay-server-static-endpoints", FLAG_STRING, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("report-posture", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("remote-config", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("sync", FLAG_BOOL, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("netfilter-mode", FLAG_STRING, FLAG_NOT_YET,
		    "the firewall rules are our own nftables table"),
	FLAG_THEIRS("qr-format", FLAG_STRING, FLAG_NOT_NEEDED, "the QR code fits the terminal"),
	FLAG_THEIRS("accept-risk", FLAG_STRING, FLAG_SILENT, NULL),
	FLAG_THEIRS("host-routes", FLAG_BOOL, FLAG_NOT_NEEDED, "they are always installed"),
	FLAG_THEIRS("auto-update", FLAG_BOOL, FLAG_NOT_NEEDED,
		    "update the package or image instead"),
	FLAG_THEIRS("update-check", FLAG_BOOL, FLAG_NOT_NEEDED,
		    "update the package or image instead"),
};

/* tag_list() - "a,tag:b" to ["tag:a","tag:b"]; the prefix may be left out, "" is no tags */
static json_t *tag_list(const char *text)
{
	json_t *list = json_array();

	while (list && *text) {
		size_t length = strcspn(text, ",");
		bool prefixed = length > 4 && strncmp(text, "tag:", 4) == 0;
		_cleanup_free_ char *tag = NULL;

		if (length > 0) {
			if (asprintf(&tag, "%s%.*s", prefixed ? "" : "tag:", (int)length, text) <
			    0) {
				tag = NULL;
				json_decref(list);
				return NULL;
			}
			if (json_array_append_new(list, json_string(tag)) < 0) {
				json_decref(list);
				return NULL;
			}
		}
		text += length + (text[length] == ',');
	}
	return list;
}

static const struct {
	enum prefs_flag flag;
	const char *member;
} settings[] = {
	{PREFS_ACCEPT_DNS, "CorpDNS"},           {PREFS_ACCEPT_ROUTES, "RouteAll"},
	{PREFS_ADVERTISE_TAGS, "AdvertiseTags"}, {PREFS_HOSTNAME, "Hostname"},
	{PREFS_LOGIN_SERVER, "ControlURL"},      {PREFS_NICKNAME, "ProfileName"},
	{PREFS_OPERATOR, "OperatorUser"},        {PREFS_SHIELDS_UP, "ShieldsUp"},
};
_Static_assert(ARRAY_SIZE(settings) == PREFS_SETTINGS_END, "a member for each setting");

static json_t *setting_value(enum prefs_flag flag, const struct flag_value *value)
{
	if (prefs_flags[flag].kind == FLAG_BOOL)
		return json_boolean(value->on);
	if (flag == PREFS_ADVERTISE_TAGS)
		return tag_list(value->text);
	return json_string(value->text);
}

/* check() - Refuse here what the node would refuse, so that it is an error of the command line */
static int check(const json_t *masked, struct error *err)
{
	struct prefs prefs;
	int r;

	if (prefs_init(&prefs) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = prefs_edit(&prefs, masked, err);
	if (r == 0 && prefs.hostname && strlen(prefs.hostname) > HOSTNAME_MAX)
		r = error_set(
			err, -EINVAL,
			"hostname '%.20s…' has %zu letters; a name in the tailnet has %d letters "
			"at most",
			prefs.hostname, strlen(prefs.hostname), HOSTNAME_MAX);
	prefs_free(&prefs);
	return r;
}

json_t *prefs_flags_masked(const struct flag_value values[static PREFS_FLAG_COUNT],
			   struct error *err)
{
	json_t *masked = json_object();
	struct prefs initial;

	if (!masked || prefs_init(&initial) < 0)
		goto no_memory;
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct flag_value *v = &values[settings[i].flag];
		json_t *value = NULL;

		if (v->given)
			value = setting_value(settings[i].flag, v);
		else if (values[PREFS_RESET].on)
			value = json_deep_copy(json_object_get(initial.object, settings[i].member));
		else
			continue;
		if (prefs_masked_set(masked, settings[i].member, value) < 0) {
			prefs_free(&initial);
			goto no_memory;
		}
	}
	prefs_free(&initial);
	if (check(masked, err) < 0) {
		json_decref(masked);
		return NULL;
	}
	return masked;

no_memory:
	json_decref(masked);
	error_set(err, -ENOMEM, "out of memory");
	return NULL;
}

int read_secret_file(const char *path, char **ret, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;
	ssize_t length;

	if (fd < 0)
		return error_set_errno(err, -errno,
				       "read the key in %s (is that file mounted here, and "
				       "readable?)",
				       path);
	text = calloc(1, SECRET_FILE_MAX + 1);
	if (!text)
		return error_set(err, -ENOMEM, "out of memory");
	length = read(fd, text, SECRET_FILE_MAX);
	if (length < 0) {
		int code = -errno;

		free(text);
		return error_set_errno(err, code, "read the key in %s (it must be a file)", path);
	}
	while (length > 0 && strchr(" \t\r\n", text[length - 1]))
		text[--length] = 0;
	if (strspn(text, " \t\r\n") > 0)
		memmove(text, text + strspn(text, " \t\r\n"),
			strlen(text) - strspn(text, " \t\r\n") + 1);
	if (!*text) {
		secret_string_free(text);
		return error_set(err, -EINVAL,
				 "%s holds no key: the file is empty; put the key into it", path);
	}
	*ret = text;
	return 0;
}

int prefs_flags_auth_key(const struct flag_value values[static PREFS_FLAG_COUNT], char **ret,
			 struct error *err)
{
	const struct flag_value *v = &values[PREFS_AUTH_KEY];

	if (!v->given || !*v->text) {
		*ret = NULL;
		return 0;
	}
	if (strncmp(v->text, "file:", 5) == 0) {
		return read_secret_file(v->text + 5, ret, err);
	}
	*ret = strdup(v->text);
	return *ret ? 0 : error_set(err, -ENOMEM, "out of memory");
}
