/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/registry_store.c - the registry on disk
 *
 * Theory of operation
 *   One table a kind of record, a row a record, written whole. Lists and Hostinfo are JSON
 *   text in a column: only the server reads them, and never in a query.
 *
 *   Deletions are a transaction of their own, before the rest: they free what others need, space
 *   and names. The rest is one transaction. A record that can't be a row (too long, or in conflict
 *   with another row) is left out with a log line, and the others are written.
 */
#define LOG_ROOM "control"
#include "server/coordinator/registry_store.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "server/coordinator/machine_requests.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAYOUT 1

static const char layout[] =
	"CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" created INTEGER NOT NULL);"
	"CREATE TABLE auth_keys (id INTEGER PRIMARY KEY AUTOINCREMENT, prefix TEXT NOT NULL UNIQUE,"
	" hash BLOB NOT NULL, user INTEGER NOT NULL, reusable INTEGER NOT NULL,"
	" ephemeral INTEGER NOT NULL, used INTEGER NOT NULL, tags TEXT NOT NULL,"
	" created INTEGER NOT NULL, expiry INTEGER NOT NULL);"
	"CREATE TABLE nodes (id INTEGER PRIMARY KEY AUTOINCREMENT, machine BLOB NOT NULL,"
	" key BLOB NOT NULL UNIQUE, disco BLOB NOT NULL, user INTEGER NOT NULL,"
	" auth_key INTEGER NOT NULL, name TEXT NOT NULL UNIQUE, named INTEGER NOT NULL,"
	" ephemeral INTEGER NOT NULL, authorized INTEGER NOT NULL, v4 TEXT NOT NULL UNIQUE,"
	" v6 TEXT NOT NULL UNIQUE, tags TEXT NOT NULL, routes TEXT NOT NULL,"
	" hostinfo TEXT NOT NULL, endpoints TEXT NOT NULL, cap INTEGER NOT NULL,"
	" created INTEGER NOT NULL, expiry INTEGER NOT NULL, last_seen INTEGER NOT NULL);"
	"PRAGMA user_version = 1;";

enum statement {
	PUT_USER,
	PUT_KEY,
	PUT_NODE,
	PUT_META,
	DELETE_NODE,
	DELETE_USER,
	DELETE_USER_KEYS,
	BEGIN,
	COMMIT,
	ROLLBACK,
	STATEMENT_COUNT,
};

static const char *const statements[STATEMENT_COUNT] = {
	[PUT_USER] = "INSERT INTO users VALUES (?1, ?2, ?3)"
		     " ON CONFLICT (id) DO UPDATE SET name = ?2",
	[PUT_KEY] = "INSERT INTO auth_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
		    " ON CONFLICT (id) DO UPDATE SET used = ?7, expiry = ?10",
	[PUT_NODE] = "INSERT INTO nodes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
		     " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
	[PUT_META] = "INSERT INTO meta VALUES (?1, ?2)"
		     " ON CONFLICT (name) DO UPDATE SET value = ?2",
	[DELETE_NODE] = "DELETE FROM nodes WHERE id = ?1",
	[DELETE_USER] = "DELETE FROM users WHERE id = ?1",
	[DELETE_USER_KEYS] = "DELETE FROM auth_keys WHERE user = ?1",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
};

struct registry_store {
	sqlite3 *db;
	sqlite3_stmt *prepared[STATEMENT_COUNT];
	struct registry_record *bad; /* the one that failed by its own fault, or NULL */
};

/* How a member of a record is a column. */
enum column_type {
	COLUMN_INT64,
	COLUMN_UINT16,
	COLUMN_BOOL,
	COLUMN_BLOB,
	COLUMN_TEXT, /* an array of characters */
	COLUMN_STRING,
	COLUMN_ADDRESS,
	/* From here on: JSON in a text. */
	COLUMN_STRINGS,
	COLUMN_PREFIXES,
	COLUMN_ENDPOINTS,
	COLUMN_HOSTINFO,
};

struct column {
	enum column_type type;
	size_t offset, size;
};

#define COLUMN(type, record, member)                             \
	{                                                        \
		COLUMN_##type, offsetof(struct record, member),  \
			sizeof(((struct record *)NULL)->member), \
	}

static const struct column user_columns[] = {
	COLUMN(INT64, registry_user, record.id),
	COLUMN(STRING, registry_user, name),
	COLUMN(INT64, registry_user, created),
};

static const struct column key_columns[] = {
	COLUMN(INT64, registry_key, record.id), COLUMN(TEXT, registry_key, prefix),
	COLUMN(BLOB, registry_key, hash),       COLUMN(INT64, registry_key, user),
	COLUMN(BOOL, registry_key, reusable),   COLUMN(BOOL, registry_key, ephemeral),
	COLUMN(BOOL, registry_key, used),       COLUMN(STRINGS, registry_key, tags),
	COLUMN(INT64, registry_key, created),   COLUMN(INT64, registry_key, expiry),
};

static const struct column node_columns[] = {
	COLUMN(INT64, registry_node, record.id),   COLUMN(BLOB, registry_node, machine),
	COLUMN(BLOB, registry_node, key),          COLUMN(BLOB, registry_node, disco),
	COLUMN(INT64, registry_node, user),        COLUMN(INT64, registry_node, auth_key),
	COLUMN(TEXT, registry_node, name),         COLUMN(BOOL, registry_node, named),
	COLUMN(BOOL, registry_node, ephemeral),    COLUMN(BOOL, registry_node, authorized),
	COLUMN(ADDRESS, registry_node, v4),        COLUMN(ADDRESS, registry_node, v6),
	COLUMN(STRINGS, registry_node, tags),      COLUMN(PREFIXES, registry_node, approved_routes),
	COLUMN(HOSTINFO, registry_node, hostinfo), COLUMN(ENDPOINTS, registry_node, endpoints),
	COLUMN(UINT16, registry_node, cap),        COLUMN(INT64, registry_node, created),
	COLUMN(INT64, registry_node, expiry),      COLUMN(INT64, registry_node, last_seen),
};

static const struct table {
	const struct column *columns;
	size_t count;
	size_t record; /* where struct registry_record is in it */
	enum statement put;
} tables[] = {
	[REGISTRY_USER] = {user_columns, ARRAY_SIZE(user_columns),
			   offsetof(struct registry_user, record), PUT_USER},
	[REGISTRY_KEY] = {key_columns, ARRAY_SIZE(key_columns),
			  offsetof(struct registry_key, record), PUT_KEY},
	[REGISTRY_NODE] = {node_columns, ARRAY_SIZE(node_columns),
			   offsetof(struct registry_node, record), PUT_NODE},
};

static int errno_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
		return -EACCES;
	default:
		return -EIO;
	}
}

static int store_error(struct registry_store *store, int code, struct error *err, const char *what)
{
	return error_set(err, errno_of(code), "%s: %s", what,
			 store->db && sqlite3_errcode(store->db) == code ? sqlite3_errmsg(store->db)
									 : sqlite3_errstr(code));
}

static int execute(struct registry_store *store, const char *sql, struct error *err)
{
	int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : store_error(store, code, err, "database");
}

void registry_store_close(struct registry_store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(store->prepared[i]);
	sqlite3_close(store->db);
	free(store);
}

static int64_t layout_version(struct registry_store *store)
{
	sqlite3_stmt *statement = NULL;
	int64_t version = -1;

	if (sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &statement, NULL) ==
		    SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		version = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return version;
}

static int prepare_layout(struct registry_store *store, struct error *err)
{
	int64_t version;
	int r = execute(store,
			"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
			"PRAGMA synchronous = FULL; PRAGMA cache_size = -1024;"
			/* A statement that touches many pages keeps what they were: not in a
			 * file, for no other can be opened once we are confined. */
			"PRAGMA temp_store = MEMORY;"
			"BEGIN EXCLUSIVE; COMMIT;",
			err);

	if (r < 0)
		return r;
	version = layout_version(store);
	if (version > LAYOUT)
		return error_set(err, -EIO,
				 "the database was written by a newer pillion (layout %lld)",
				 (long long)version);
	if (version == LAYOUT)
		return 0;
	r = execute(store, "BEGIN IMMEDIATE", err);
	if (r == 0)
		r = execute(store, layout, err);
	if (r == 0)
		r = execute(store, "COMMIT", err);
	return r;
}

/* create() - A database with its layout under its name, or nothing: so an empty one was lost */
static int create(const char *path, struct error *err)
{
	_cleanup_free_ char *fresh = NULL;
	struct registry_store made = {0};
	int code, fd, r;

	if (asprintf(&fresh, "%s.new", path) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	(void)unlink(fresh);
	/* SQLite gives its other files the mode of this one. */
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(err, -errno, "%s", fresh);
	close(fd);
	code = sqlite3_open_v2(fresh, &made.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	r = code == SQLITE_OK ? prepare_layout(&made, err) : store_error(&made, code, err, fresh);
	sqlite3_close(made.db);
	if (r == 0 && rename(fresh, path) < 0)
		r = error_set_errno(err, -errno, "make %s", path);
	if (r < 0)
		(void)unlink(fresh);
	return r;
}

/* ensure_file() - The database, made at the first start; one that was lost is not a first start */
static int ensure_file(const char *path, struct error *err)
{
	_cleanup_free_ char *log = NULL;
	struct stat st;

	if (stat(path, &st) == 0 && st.st_size > 0)
		return 0;
	if (stat(path, &st) == 0)
		return error_set(
			err, -EINVAL,
			"%s is empty, as after a loss of power: restore a backup, or remove "
			"it to start with a new tailnet, which no node of the old one knows",
			path);
	if (errno != ENOENT)
		return error_set_errno(err, -errno, "%s", path);
	if (asprintf(&log, "%s-wal", path) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (stat(log, &st) == 0 && st.st_size > 0)
		return error_set(
			err, -EINVAL,
			"%s is gone, but its log %s is there: restore a backup, or move the "
			"log away to start with a new tailnet",
			path, log);
	return create(path, err);
}

int registry_store_open(const char *path, struct registry_store **ret, struct error *err)
{
	struct registry_store *store = calloc(1, sizeof(*store));
	int code, r;

	if (!store)
		return error_set(err, -ENOMEM, "out of memory");
	r = ensure_file(path, err);
	if (r < 0)
		goto refused;
	code = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK) {
		r = store_error(store, code, err, path);
		goto refused;
	}
	r = prepare_layout(store, err);
	if (r == -EBUSY)
		error_set(err, r, "%s is in use by another pillion control", path);
	for (size_t i = 0; r == 0 && i < STATEMENT_COUNT; i++) {
		code = sqlite3_prepare_v3(store->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
					  &store->prepared[i], NULL);
		if (code != SQLITE_OK)
			r = store_error(store, code, err, path);
	}
	if (r < 0)
		goto refused;
	*ret = store;
	return 0;
refused:
	registry_store_close(store);
	return r;
}

/* Rows out */

static int run(struct registry_store *store, enum statement which)
{
	sqlite3_stmt *s = store->prepared[which];
	int code = sqlite3_step(s);

	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return code == SQLITE_DONE || code == SQLITE_ROW ? 0 : code;
}

/* bind_json() - A member as one JSON value; 0 or SQLite's code */
static int bind_json(sqlite3_stmt *s, int at, enum column_type type, const void *member)
{
	struct buffer text = BUFFER_INIT(LIMIT_JSON_COLUMN);
	struct json_writer w = json_writer_to(&text);
	int r;

	if (type == COLUMN_STRINGS)
		json_put_strings(&w, NULL, member);
	else if (type == COLUMN_PREFIXES)
		json_put_prefixes(&w, NULL, member);
	else if (type == COLUMN_ENDPOINTS)
		json_put_endpoints(&w, NULL, member);
	else
		tailcfg_hostinfo_encode(&w, NULL, member);
	r = json_writer_result(&w);
	if (r == 0)
		r = sqlite3_bind_text(s, at, (char *)buffer_head(&text), (int)text.length,
				      SQLITE_TRANSIENT);
	else
		r = r == -ENOMEM ? SQLITE_NOMEM : SQLITE_TOOBIG;
	buffer_free(&text);
	return r;
}

static int bind_column(sqlite3_stmt *s, int at, const struct column *column, const void *record)
{
	const void *member = (const char *)record + column->offset;
	char text[ADDRESS_TEXT_MAX];

	switch (column->type) {
	case COLUMN_INT64:
		return sqlite3_bind_int64(s, at, *(const int64_t *)member);
	case COLUMN_UINT16:
		return sqlite3_bind_int(s, at, *(const uint16_t *)member);
	case COLUMN_BOOL:
		return sqlite3_bind_int(s, at, *(const bool *)member);
	case COLUMN_BLOB:
		return sqlite3_bind_blob(s, at, member, (int)column->size, SQLITE_STATIC);
	case COLUMN_TEXT:
		return sqlite3_bind_text(s, at, member, -1, SQLITE_STATIC);
	case COLUMN_STRING:
		return sqlite3_bind_text(s, at, *(char *const *)member, -1, SQLITE_STATIC);
	case COLUMN_ADDRESS:
		return sqlite3_bind_text(s, at, address_format(member, text), -1, SQLITE_TRANSIENT);
	default:
		return bind_json(s, at, column->type, member);
	}
}

static int put_record(struct registry_store *store, const struct registry_record *record)
{
	const struct table *table = &tables[record->kind];
	sqlite3_stmt *s = store->prepared[table->put];
	int code = 0;

	for (size_t i = 0; i < table->count && code == 0; i++)
		code = bind_column(s, (int)i + 1, &table->columns[i],
				   (const char *)record - table->record);
	return code ? code : run(store, table->put);
}

static int put_meta(struct registry_store *store, const char *name, const void *value,
		    size_t length)
{
	sqlite3_stmt *s = store->prepared[PUT_META];

	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 2, length ? value : "", (int)length, SQLITE_STATIC);
	return run(store, PUT_META);
}

static int delete_by_id(struct registry_store *store, enum statement which, int64_t id)
{
	sqlite3_bind_int64(store->prepared[which], 1, id);
	return run(store, which);
}

static int write_deletions(struct registry_store *store, const struct registry *registry)
{
	int code = 0;

	for (size_t i = 0; code == 0 && i < registry->deleted_count; i++) {
		bool user = registry->deleted[i].kind == REGISTRY_USER;
		int64_t id = registry->deleted[i].id;

		if (user)
			code = delete_by_id(store, DELETE_USER_KEYS, id);
		if (code == 0)
			code = delete_by_id(store, user ? DELETE_USER : DELETE_NODE, id);
	}
	return code;
}

static bool is_own_fault(int code)
{
	code &= 0xff;
	return code == SQLITE_TOOBIG || code == SQLITE_CONSTRAINT;
}

static int write_changes(struct registry_store *store, const struct registry *registry)
{
	struct registry_record *record;
	int code = 0;

	/* All old rows of nodes go first: of two that changed, one may have the other's old name.
	 */
	LIST_FOREACH(record, &registry->dirty, next_dirty)
		if (code == 0 && record->kind == REGISTRY_NODE)
			code = delete_by_id(store, DELETE_NODE, record->id);
	LIST_FOREACH(record, &registry->dirty, next_dirty) {
		if (code == 0)
			code = put_record(store, record);
		if (is_own_fault(code) && !store->bad)
			store->bad = record;
	}
	if (code == 0 && registry->policy_dirty)
		code = put_meta(store, "policy", registry->policy,
				registry->policy ? strlen(registry->policy) : 0);
	if (code == 0 && registry->page_key_dirty)
		code = put_meta(store, "page_key", registry->page_key,
				registry->has_page_key ? sizeof(registry->page_key) : 0);
	return code;
}

/* transact() - All that @write writes, or nothing of it */
static int transact(struct registry_store *store, const struct registry *registry,
		    int (*write)(struct registry_store *, const struct registry *),
		    struct error *err)
{
	int code = run(store, BEGIN), r;

	if (code == 0)
		code = write(store, registry);
	if (code == 0)
		code = run(store, COMMIT);
	if (code == 0)
		return 0;
	r = store_error(store, code, err, "the database can't be written");
	if (!sqlite3_get_autocommit(store->db))
		(void)run(store, ROLLBACK);
	return r;
}

/* give_up() - The stored row of @bad stays as it is, until the record changes again */
static void give_up(struct registry_store *store, struct registry_record *bad,
		    const struct error *err)
{
	static const char *const kinds[] = {
		[REGISTRY_USER] = "user", [REGISTRY_KEY] = "key", [REGISTRY_NODE] = "node"};

	log_error("%s=%lld can't be stored, and its change is lost when this server ends: %s",
		  kinds[bad->kind], (long long)bad->id, err->text);
	registry_untouch(bad);
	store->bad = NULL;
}

int registry_store_flush(struct registry_store *store, struct registry *registry, struct error *err)
{
	int r;

	if (registry->deleted_count) {
		r = transact(store, registry, write_deletions, err);
		if (r < 0)
			return r;
		registry->deleted_count = 0;
	}
	while (registry_is_dirty(registry)) {
		r = transact(store, registry, write_changes, err);
		if (r < 0 && !store->bad)
			return r;
		if (r < 0) {
			give_up(store, store->bad, err);
			continue;
		}
		while (!LIST_EMPTY(&registry->dirty))
			registry_untouch(LIST_FIRST(&registry->dirty));
		registry->policy_dirty = registry->page_key_dirty = false;
	}
	return 0;
}

/* Rows in */

/* read_json() - The text of a column into a member */
static bool read_json(sqlite3_stmt *s, int at, enum column_type type, void *member)
{
	json_t *value = json_loadb((const char *)sqlite3_column_text(s, at),
				   (size_t)sqlite3_column_bytes(s, at), JSON_DECODE_ANY, NULL);
	json_t *object = json_object();
	struct json_reader r = json_reader_of(object);
	bool good = value && object && json_object_set_new(object, "v", value) == 0;

	if (good && type == COLUMN_STRINGS)
		json_get_strings(&r, "v", member);
	else if (good && type == COLUMN_PREFIXES)
		json_get_prefixes(&r, "v", member);
	else if (good && type == COLUMN_ENDPOINTS)
		json_get_endpoints(&r, "v", member);
	else if (good)
		good = tailcfg_hostinfo_decode(value, member, NULL) == 0;
	json_decref(object);
	return good && r.error == 0;
}

static bool read_column(sqlite3_stmt *s, int at, const struct column *column, void *record)
{
	void *member = (char *)record + column->offset;
	const char *text;
	size_t length;

	if (column->type == COLUMN_INT64)
		*(int64_t *)member = sqlite3_column_int64(s, at);
	else if (column->type == COLUMN_UINT16)
		*(uint16_t *)member = (uint16_t)sqlite3_column_int(s, at);
	else if (column->type == COLUMN_BOOL)
		*(bool *)member = sqlite3_column_int(s, at) != 0;
	if (column->type <= COLUMN_BOOL)
		return true;
	if (column->type >= COLUMN_STRINGS)
		return read_json(s, at, column->type, member);
	text = column->type == COLUMN_BLOB ? sqlite3_column_blob(s, at)
					   : (const char *)sqlite3_column_text(s, at);
	length = (size_t)sqlite3_column_bytes(s, at);
	if (!text)
		return false;
	if (column->type == COLUMN_ADDRESS)
		return address_parse(text, length, member) == 0;
	if (column->type == COLUMN_STRING)
		return (*(char **)member = strdup(text)) != NULL;
	if (column->type == COLUMN_BLOB ? length != column->size : length >= column->size)
		return false;
	memcpy(member, text, length);
	return true;
}

/* read_row() - Fill an empty record */
static bool read_row(sqlite3_stmt *s, enum registry_kind kind, void *record)
{
	const struct table *table = &tables[kind];
	bool good = true;

	for (size_t i = 0; i < table->count && good; i++)
		good = read_column(s, (int)i, &table->columns[i], record);
	((struct registry_record *)(void *)((char *)record + table->record))->kind = kind;
	return good;
}

static int load_user(struct registry *registry, sqlite3_stmt *s)
{
	struct registry_user *user = calloc(1, sizeof(*user));

	if (!user)
		return -ENOMEM;
	if (!read_row(s, REGISTRY_USER, user)) {
		free(user->name);
		free(user);
		return -EIO;
	}
	registry_insert_user(registry, user);
	return 0;
}

static int load_key(struct registry *registry, sqlite3_stmt *s)
{
	struct registry_key *key = calloc(1, sizeof(*key));

	if (!key)
		return -ENOMEM;
	registry_insert_key(registry, key);
	return read_row(s, REGISTRY_KEY, key) && strlen(key->prefix) == REGISTRY_KEY_PREFIX_SIZE
		       ? 0
		       : -EIO;
}

static int load_node(struct registry *registry, sqlite3_stmt *s)
{
	struct registry_node *node = calloc(1, sizeof(*node));
	char name[REGISTRY_NAME_MAX + 1];
	int r = -EIO;

	if (!node)
		return -ENOMEM;
	if (read_row(s, REGISTRY_NODE, node)) {
		strcpy(name, node->name);
		registry_label(name, node->name);
		machine_routes_tidy(&node->approved_routes);
		machine_routes_tidy(&node->hostinfo.routable_ips);
		r = registry_insert_node(registry, node);
	}
	if (r < 0)
		registry_node_free(node);
	return r;
}

/* load_sequences() - Ids that were given out and deleted again */
static int load_sequence(struct registry *registry, sqlite3_stmt *s)
{
	const char *table = (const char *)sqlite3_column_text(s, 0);
	int64_t last = sqlite3_column_int64(s, 1);

	if (strcmp(table, "users") == 0)
		registry->last_user = last;
	else if (strcmp(table, "auth_keys") == 0)
		registry->last_key = last;
	else if (strcmp(table, "nodes") == 0)
		registry->last_node = last;
	return 0;
}

static int load_policy(struct registry *registry, sqlite3_stmt *s)
{
	if (sqlite3_column_bytes(s, 0) == 0)
		return 0;
	registry->policy = strndup(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
	return registry->policy ? 0 : -ENOMEM;
}

static int load_page_key(struct registry *registry, sqlite3_stmt *s)
{
	int length = sqlite3_column_bytes(s, 0);

	registry->has_page_key = length == sizeof(registry->page_key);
	if (registry->has_page_key)
		memcpy(registry->page_key, sqlite3_column_blob(s, 0), sizeof(registry->page_key));
	return registry->has_page_key || length == 0 ? 0 : -EIO;
}

static int load_rows(struct registry_store *store, struct registry *registry, const char *sql,
		     int (*row)(struct registry *, sqlite3_stmt *), struct error *err)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(store->db, sql, -1, &s, NULL), r = 0;

	while (code == SQLITE_OK && r == 0) {
		code = sqlite3_step(s);
		if (code != SQLITE_ROW)
			break;
		code = SQLITE_OK;
		r = row(registry, s);
		if (r < 0)
			error_set_errno(err, r, "the database's row %lld (%s) can't be used",
					(long long)sqlite3_column_int64(s, 0), sql);
	}
	sqlite3_finalize(s);
	if (r == 0 && code != SQLITE_DONE)
		r = store_error(store, code, err, "the database can't be read");
	return r;
}

int registry_store_load(struct registry_store *store, struct registry *registry, struct error *err)
{
	static const struct {
		const char *sql;
		int (*row)(struct registry *, sqlite3_stmt *);
	} loads[] = {
		{"SELECT * FROM users ORDER BY id", load_user},
		{"SELECT * FROM auth_keys ORDER BY id", load_key},
		{"SELECT * FROM nodes ORDER BY id", load_node},
		{"SELECT name, seq FROM sqlite_sequence", load_sequence},
		{"SELECT value FROM meta WHERE name = 'policy'", load_policy},
		{"SELECT value FROM meta WHERE name = 'page_key'", load_page_key},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(loads); i++)
		r = load_rows(store, registry, loads[i].sql, loads[i].row, err);
	registry->next_host = (uint32_t)(registry->node_count + 1);
	return r;
}

int registry_store_noise_key(struct registry_store *store, struct secret_key *ret,
			     struct error *err)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(store->db, "SELECT value FROM meta WHERE name = 'noise_key'",
				      -1, &s, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(s);
	if (code == SQLITE_ROW && sqlite3_column_bytes(s, 0) == SECRET_KEY_SIZE) {
		memcpy(ret->bytes, sqlite3_column_blob(s, 0), SECRET_KEY_SIZE);
		sqlite3_finalize(s);
		return 0;
	}
	sqlite3_finalize(s);
	if (code != SQLITE_DONE)
		return store_error(store, code, err, "the server's key can't be read");
	secret_key_generate(ret);
	code = put_meta(store, "noise_key", ret->bytes, SECRET_KEY_SIZE);
	return code == 0 ? 0 : store_error(store, code, err, "the server's key can't be stored");
}
