/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/prefs.c - the settings of this node (ipn.Prefs)
 *
 * Theory of operation. One table names each official member with its kind, default
 * and, where we use it, its place in struct prefs. Decoding completes a copy of the
 * object with the defaults, checks the kinds and points the view into the copy. An
 * edit is made on a copy too, decoded, checked and only then swapped in, so a
 * refused edit leaves nothing half done.
 */
#include "node/prefs.h"

#include "base/cleanup.h"
#include "transport/url.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define HOSTNAME_MAX  256
#define ROUTES_MAX    4096u
#define TAGS_MAX      256u
#define MASK_SUFFIX   "Set"
#define MASK_LENGTH   (sizeof(MASK_SUFFIX) - 1)
#define PLACE(member) offsetof(struct prefs, member)

enum member_kind {
	MEMBER_BOOL,
	MEMBER_BOOL_OPTIONAL,
	MEMBER_STRING,
	MEMBER_INTEGER,
	MEMBER_TAGS,
	MEMBER_ROUTES,
	MEMBER_LIST,   /* kept, not looked into */
	MEMBER_OBJECT, /* kept, not looked into */
	MEMBER_ANY,
};

#define TYPE(type) (1u << (type))

/* The JSON types of each kind, and the zero value that Go's encoder leaves out. */
static const struct {
	unsigned int types;
	const char *zero;
} kinds[] = {
	[MEMBER_BOOL] = {TYPE(JSON_TRUE) | TYPE(JSON_FALSE), "false"},
	[MEMBER_BOOL_OPTIONAL] = {TYPE(JSON_TRUE) | TYPE(JSON_FALSE) | TYPE(JSON_NULL), "null"},
	[MEMBER_STRING] = {TYPE(JSON_STRING), "\"\""},
	[MEMBER_INTEGER] = {TYPE(JSON_INTEGER), "0"},
	[MEMBER_TAGS] = {TYPE(JSON_ARRAY) | TYPE(JSON_NULL), "null"},
	[MEMBER_ROUTES] = {TYPE(JSON_ARRAY) | TYPE(JSON_NULL), "null"},
	[MEMBER_LIST] = {TYPE(JSON_ARRAY) | TYPE(JSON_NULL), "null"},
	[MEMBER_OBJECT] = {TYPE(JSON_OBJECT), "{}"},
	[MEMBER_ANY] = {~0u, "null"},
};

struct member {
	const char *name;
	enum member_kind kind;
	size_t place;            /* 0: none; the object is first in struct prefs */
	const char *initial;     /* as JSON; NULL: the zero value */
	const char *unsupported; /* the feature that pillion lacks; NULL: none */
	bool omit_empty;         /* left out while it has its zero value */
};

/* In the order of the official file. */
static const struct member members[] = {
	{"ControlURL", .kind = MEMBER_STRING, .place = PLACE(control_url)},
	{"RouteAll", .kind = MEMBER_BOOL, .place = PLACE(route_all)},
	{"ExitNodeID", .kind = MEMBER_STRING, .unsupported = "exit nodes"},
	{"ExitNodeIP", .kind = MEMBER_STRING, .unsupported = "exit nodes"},
	{"AutoExitNode", .kind = MEMBER_STRING, .omit_empty = true},
	{"InternalExitNodePrior", .kind = MEMBER_STRING},
	{"ExitNodeAllowLANAccess", .kind = MEMBER_BOOL},
	{"CorpDNS", .kind = MEMBER_BOOL, .place = PLACE(corp_dns), .initial = "true"},
	{"RunSSH", .kind = MEMBER_BOOL, .unsupported = "the SSH server"},
	{"RunWebClient", .kind = MEMBER_BOOL, .unsupported = "the web interface"},
	{"WantRunning", .kind = MEMBER_BOOL, .place = PLACE(want_running)},
	{"LoggedOut", .kind = MEMBER_BOOL, .place = PLACE(logged_out)},
	{"ShieldsUp", .kind = MEMBER_BOOL, .place = PLACE(shields_up)},
	{"AdvertiseTags", .kind = MEMBER_TAGS},
	{"Hostname", .kind = MEMBER_STRING, .place = PLACE(hostname)},
	{"NotepadURLs", .kind = MEMBER_BOOL},
	{"ForceDaemon", .kind = MEMBER_BOOL, .omit_empty = true},
	{"Egg", .kind = MEMBER_BOOL, .omit_empty = true},
	{"AdvertiseRoutes", .kind = MEMBER_ROUTES, .unsupported = "subnet routes of its own"},
	{"AdvertiseServices", .kind = MEMBER_LIST, .unsupported = "Tailscale Services"},
	{"Sync", .kind = MEMBER_BOOL_OPTIONAL},
	{"NoSNAT", .kind = MEMBER_BOOL},
	{"NoStatefulFiltering", .kind = MEMBER_BOOL_OPTIONAL, .initial = "true"},
	{"NetfilterMode", .kind = MEMBER_INTEGER, .place = PLACE(netfilter_mode), .initial = "2"},
	{"OperatorUser", .kind = MEMBER_STRING, .place = PLACE(operator_user), .omit_empty = true},
	{"ProfileName", .kind = MEMBER_STRING, .place = PLACE(profile_name), .omit_empty = true},
	{"AutoUpdate", .kind = MEMBER_OBJECT, .initial = "{\"Check\":true,\"Apply\":null}"},
	{"AppConnector", .kind = MEMBER_OBJECT, .initial = "{\"Advertise\":false}",
	 .unsupported = "app connectors"},
	{"PostureChecking", .kind = MEMBER_BOOL},
	{"NetfilterKind", .kind = MEMBER_STRING},
	{"RemoteConfig", .kind = MEMBER_BOOL},
	{"DriveShares", .kind = MEMBER_LIST},
	{"RelayServerPort", .kind = MEMBER_ANY, .unsupported = "peer relays", .omit_empty = true},
	{"RelayServerStaticEndpoints", .kind = MEMBER_LIST, .omit_empty = true},
};

/* Members that the daemon itself sets, or that are no settings. */
static const char *const internal_members[] = {"InternalExitNodePrior", "Config", "Persist"};

static const struct member *find_member(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		if (strcmp(members[i].name, name) == 0)
			return &members[i];
	return NULL;
}

static json_t *zero_value(const struct member *m)
{
	return json_loads(kinds[m->kind].zero, JSON_DECODE_ANY, NULL);
}

/* initial_value() - The value of a member that a new profile has */
static json_t *initial_value(const struct member *m)
{
	return m->initial ? json_loads(m->initial, JSON_DECODE_ANY, NULL) : zero_value(m);
}

static bool kind_matches(enum member_kind kind, const json_t *value)
{
	if (kind == MEMBER_INTEGER && json_is_integer(value) &&
	    json_integer_value(value) != (int)json_integer_value(value))
		return false;
	return kinds[kind].types & TYPE(json_typeof(value));
}

static bool is_empty(const json_t *value)
{
	return json_is_null(value) || json_is_false(value) ||
	       (json_is_string(value) && json_string_length(value) == 0);
}

/* is_on() - Whether a value asks for something */
static bool is_on(const json_t *value)
{
	return json_is_true(value) || json_string_length(value) > 0 || json_array_size(value) > 0 ||
	       json_is_integer(value) || json_is_true(json_object_get(value, "Advertise"));
}

/* has_feature() - Whether one of the members that stand for a feature is on */
static bool has_feature(const struct prefs *prefs, const char *feature)
{
	for (size_t i = 0; prefs && i < ARRAY_SIZE(members); i++)
		if (members[i].unsupported && strcmp(members[i].unsupported, feature) == 0 &&
		    is_on(json_object_get(prefs->object, members[i].name)))
			return true;
	return false;
}

bool prefs_unsupported(const struct prefs *prefs, const struct prefs *before, char *out,
		       size_t size)
{
	const char *last = "";
	size_t used = 0;

	out[0] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(members) && used < size; i++) {
		const struct member *m = &members[i];

		if (!m->unsupported || strcmp(m->unsupported, last) == 0 ||
		    !has_feature(prefs, m->unsupported) || has_feature(before, m->unsupported))
			continue;
		last = m->unsupported;
		used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", last);
	}
	return used > 0;
}

static int decode_tags(json_t *list, struct prefs *p, struct error *err)
{
	size_t count = json_array_size(list), i;
	json_t *tag;

	if (count > TAGS_MAX)
		return error_set(err, -EINVAL, "AdvertiseTags: more than %u tags", TAGS_MAX);
	p->advertise_tags = calloc(count + 1, sizeof(*p->advertise_tags));
	if (!p->advertise_tags)
		return error_set(err, -ENOMEM, "out of memory");
	json_array_foreach(list, i, tag) {
		if (!json_is_string(tag))
			return error_set(err, -EINVAL, "AdvertiseTags: a tag is not a string");
		p->advertise_tags[p->advertise_tag_count++] = json_string_value(tag);
	}
	return 0;
}

static int decode_routes(json_t *list, struct prefs *p, struct error *err)
{
	size_t count = json_array_size(list), i;
	json_t *route;

	if (count > ROUTES_MAX)
		return error_set(err, -EINVAL, "AdvertiseRoutes: more than %u routes", ROUTES_MAX);
	p->advertise_routes = calloc(count + 1, sizeof(*p->advertise_routes));
	if (!p->advertise_routes)
		return error_set(err, -ENOMEM, "out of memory");
	json_array_foreach(list, i, route) {
		const char *text = json_string_value(route);

		if (!text || prefix_parse(text, strlen(text),
					  &p->advertise_routes[p->advertise_route_count]) < 0)
			return error_set(err, -EINVAL,
					 "AdvertiseRoutes: '%s' is not a prefix such as "
					 "192.0.2.0/24",
					 text ? text : "(no string)");
		p->advertise_route_count++;
	}
	return 0;
}

static int decode_member(const struct member *m, struct prefs *p, struct error *err)
{
	json_t *value = json_object_get(p->object, m->name);
	void *place = (char *)p + (m->place);

	/* Go reads null as an absent member. */
	if (!value || (json_is_null(value) && !kind_matches(m->kind, value))) {
		value = initial_value(m);
		if (json_object_set_new(p->object, m->name, value) < 0)
			return error_set(err, -ENOMEM, "out of memory");
	}
	if (!kind_matches(m->kind, value))
		return error_set(err, -EINVAL, "%s has the wrong type", m->name);
	if (m->kind == MEMBER_TAGS)
		return decode_tags(value, p, err);
	if (m->kind == MEMBER_ROUTES)
		return decode_routes(value, p, err);
	if (!m->place)
		return 0;
	if (m->kind == MEMBER_BOOL)
		*(bool *)place = json_is_true(value);
	else if (m->kind == MEMBER_STRING)
		*(const char **)place = json_string_value(value);
	else if (m->kind == MEMBER_INTEGER)
		*(int *)place = (int)json_integer_value(value);
	return 0;
}

/* decode_owned() - As prefs_decode(), for an object that the result takes over, also on failure */
static int decode_owned(json_t *object, struct prefs *ret, struct error *err)
{
	_cleanup_(prefs_free) struct prefs p = {.object = object};
	int r;

	if (!object)
		return error_set(err, -ENOMEM, "out of memory");
	(void)json_object_del(object, "Config");
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		r = decode_member(&members[i], &p, err);
		if (r < 0)
			return r;
	}
	*ret = p;
	p = (struct prefs){0};
	return 0;
}

int prefs_init(struct prefs *ret)
{
	return decode_owned(json_object(), ret, NULL);
}

/* copy_object() - A deep copy of the members but Config, official ones first, in their order */
static json_t *copy_object(const json_t *object)
{
	json_t *copy = json_object(), *value;
	const char *key;

	if (!copy)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		value = json_object_get(object, members[i].name);
		value = value ? json_deep_copy(value) : initial_value(&members[i]);
		if (json_object_set_new(copy, members[i].name, value) < 0)
			goto no_memory;
	}
	json_object_foreach((json_t *)object, key, value) {
		if (find_member(key) || strcmp(key, "Config") == 0)
			continue;
		if (json_object_set_new(copy, key, json_deep_copy(value)) < 0)
			goto no_memory;
	}
	return copy;

no_memory:
	json_decref(copy);
	return NULL;
}

int prefs_decode(const json_t *object, struct prefs *ret, struct error *err)
{
	if (!json_is_object(object))
		return error_set(err, -EINVAL, "prefs are not a JSON object");
	return decode_owned(copy_object(object), ret, err);
}

json_t *prefs_json(const struct prefs *prefs)
{
	json_t *copy = json_deep_copy(prefs->object);

	for (size_t i = 0; copy && i < ARRAY_SIZE(members); i++)
		if (members[i].omit_empty && is_empty(json_object_get(copy, members[i].name)))
			(void)json_object_del(copy, members[i].name);
	return copy;
}

/* unmasked() - "Apply" of the mask's member "ApplySet", on the heap; NULL: @key is no mask */
static char *unmasked(const char *key)
{
	size_t length = strlen(key);

	if (length <= MASK_LENGTH || strcmp(key + length - MASK_LENGTH, MASK_SUFFIX) != 0)
		return NULL;
	return strndup(key, length - MASK_LENGTH);
}

/* edit_inner() - AutoUpdateSet {"ApplySet": true}: the masked members of an inner object */
static int edit_inner(json_t *object, const char *name, const json_t *mask, const json_t *values)
{
	json_t *inner = json_object_get(object, name), *set;
	const char *key;

	if (!json_is_object(inner)) {
		inner = json_object();
		if (json_object_set_new(object, name, inner) < 0)
			return -ENOMEM;
	}
	json_object_foreach((json_t *)mask, key, set) {
		_cleanup_free_ char *base = json_is_true(set) ? unmasked(key) : NULL;
		json_t *value = base ? json_object_get(values, base) : NULL;

		if (base && json_object_set_new(inner, base,
						value ? json_deep_copy(value) : json_null()) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int edit_member(json_t *object, const char *name, const json_t *mask, const json_t *masked,
		       struct error *err)
{
	json_t *value = json_object_get(masked, name);
	const struct member *m = find_member(name);

	if (json_is_object(mask))
		return edit_inner(object, name, mask, value);
	if (!json_is_true(mask))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(internal_members); i++)
		if (strcmp(internal_members[i], name) == 0)
			return error_set(err, -EPERM, "%s can't be set from outside", name);
	if (!value && !m) {
		(void)json_object_del(object, name);
		return 0;
	}
	if (m && (!value || (json_is_null(value) && !kind_matches(m->kind, value))))
		value = zero_value(m);
	else
		value = json_deep_copy(value);
	return json_object_set_new(object, name, value) < 0
		       ? error_set(err, -ENOMEM, "out of memory")
		       : 0;
}

static int check_control_url(const char *url, struct error *err)
{
	const char *host = NULL;

	if (!*url)
		return 0;
	if (strncmp(url, "https://", 8) == 0)
		host = url + 8;
	else if (strncmp(url, "http://", 7) == 0)
		host = url + 7;
	if (!host || !*host || strchr("/:?#", *host) || strpbrk(url, " \t\r\n\"<>@"))
		return error_set(err, -EINVAL,
				 "login server '%s' is not a URL such as https://vpn.example.com",
				 url);
	return 0;
}

static int check_hostname(const char *name, struct error *err)
{
	if (strlen(name) > HOSTNAME_MAX)
		return error_set(err, -EINVAL, "hostname is longer than %d bytes", HOSTNAME_MAX);
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && (c == name || !strchr("-._", *c)))
			return error_set(err, -EINVAL,
					 "hostname '%s': use letters, digits and dashes", name);
	return 0;
}

static int check_tag(const char *tag, struct error *err)
{
	const char *name = tag + 4;
	bool good = strncmp(tag, "tag:", 4) == 0 && isalpha((unsigned char)*name);

	for (; good && *name; name++)
		good = isalnum((unsigned char)*name) || *name == '-';
	if (!good)
		return error_set(err, -EINVAL,
				 "tag '%s': a tag is 'tag:' and a name that begins with a letter "
				 "and has letters, digits and dashes",
				 tag);
	return 0;
}

static int check_route(const struct prefix *route, struct error *err)
{
	struct prefix masked = prefix_mask(route);
	char was[PREFIX_TEXT_MAX], is[PREFIX_TEXT_MAX];

	if (prefix_equal(route, &masked))
		return 0;
	return error_set(err, -EINVAL, "route %s has bits beyond its length; write %s",
			 prefix_format(route, was), prefix_format(&masked, is));
}

/* check_against() - prefs_check() of what differs from @before; NULL: of everything */
static int check_against(const struct prefs *p, const struct prefs *before, struct error *err)
{
	int r = 0;

#define CHANGED(name) \
	(!before ||   \
	 !json_equal(json_object_get(before->object, name), json_object_get(p->object, name)))
	if (CHANGED("ControlURL"))
		r = check_control_url(p->control_url, err);
	if (r == 0 && CHANGED("Hostname"))
		r = check_hostname(p->hostname, err);
	for (size_t i = 0; r == 0 && CHANGED("AdvertiseTags") && i < p->advertise_tag_count; i++)
		r = check_tag(p->advertise_tags[i], err);
	for (size_t i = 0; r == 0 && CHANGED("AdvertiseRoutes") && i < p->advertise_route_count;
	     i++)
		r = check_route(&p->advertise_routes[i], err);
	if (r == 0 && CHANGED("NetfilterMode") &&
	    (p->netfilter_mode < NETFILTER_OFF || p->netfilter_mode > NETFILTER_ON))
		r = error_set(err, -EINVAL, "netfilter mode %d: 0 is off, 1 nodivert, 2 on",
			      p->netfilter_mode);
#undef CHANGED
	return r;
}

int prefs_check(const struct prefs *prefs, struct error *err)
{
	return check_against(prefs, NULL, err);
}

int prefs_edit(struct prefs *prefs, const json_t *masked, struct error *err)
{
	_cleanup_(prefs_free) struct prefs edited = {0};
	json_t *object, *mask;
	const char *key;
	int r;

	if (!json_is_object(masked))
		return error_set(err, -EINVAL, "masked prefs are not a JSON object");
	object = json_deep_copy(prefs->object);
	if (!object)
		return error_set(err, -ENOMEM, "out of memory");
	json_object_foreach((json_t *)masked, key, mask) {
		_cleanup_free_ char *name = unmasked(key);

		r = name ? edit_member(object, name, mask, masked, err) : 0;
		if (r < 0) {
			json_decref(object);
			return r;
		}
	}
	r = decode_owned(object, &edited, err);
	if (r == 0)
		r = check_against(&edited, prefs, err);
	if (r < 0)
		return r;
	prefs_free(prefs);
	*prefs = edited;
	edited = (struct prefs){0};
	return 0;
}

int prefs_copy(const struct prefs *prefs, struct prefs *ret)
{
	return decode_owned(json_deep_copy(prefs->object), ret, NULL);
}

bool prefs_equal(const struct prefs *a, const struct prefs *b)
{
	return json_equal(a->object, b->object);
}

const char *prefs_control_url(const struct prefs *prefs)
{
	if (!*prefs->control_url || strcmp(prefs->control_url, "https://login.tailscale.com") == 0)
		return PREFS_DEFAULT_CONTROL_URL;
	return prefs->control_url;
}

bool prefs_same_server(const char *one, const char *other)
{
	struct url a, b;

	return strcmp(one, other) == 0 ||
	       (url_parse(one, &a, NULL) == 0 && url_parse(other, &b, NULL) == 0 &&
		url_same_origin(&a, &b));
}

void prefs_free(struct prefs *prefs)
{
	json_decref(prefs->object);
	free(prefs->advertise_tags);
	free(prefs->advertise_routes);
	*prefs = (struct prefs){0};
}

int prefs_set_bool(struct prefs *prefs, const char *name, bool value)
{
	if (json_object_set_new(prefs->object, name, json_boolean(value)) < 0)
		return -ENOMEM;
	*(bool *)((char *)prefs + find_member(name)->place) = value;
	return 0;
}

int prefs_masked_set(json_t *masked, const char *name, json_t *value)
{
	_cleanup_free_ char *mask = NULL;

	if (asprintf(&mask, "%s" MASK_SUFFIX, name) < 0) {
		mask = NULL;
		json_decref(value);
		return -ENOMEM;
	}
	if (json_object_set_new(masked, name, value) < 0 ||
	    json_object_set_new(masked, mask, json_true()) < 0)
		return -ENOMEM;
	return 0;
}
