/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/members.h - structs of the protocol, described by tables of their members
 *
 * One table a struct names each JSON member, its kind and its place. Reading, writing,
 * freeing, copying and comparing are done here from the tables, so they can't disagree
 * about what there is.
 *
 *	static const struct json_member members[] = {
 *		MEMBER(struct tailcfg_user_profile, INT, "ID", id, .always = true),
 *		MEMBER(struct tailcfg_user_profile, TEXT, "LoginName", login_name),
 *	};
 *	static const struct json_members user_profile =
 *		MEMBERS("user profile", struct tailcfg_user_profile, members);
 *
 * Text is a `const char *`. members_clear() frees it; a struct that borrows its text (to be
 * written, not freed) is never cleared. All zero is a valid, empty value.
 */
#pragma once

#include "wire/json.h"

#include <stddef.h>

enum member_kind {
	MEMBER_TEXT, /* NULL when empty */
	MEMBER_BOOL,
	MEMBER_OPTIONAL_BOOL,
	MEMBER_INT,
	MEMBER_UINT16, /* 0 where it doesn't fit */
	MEMBER_NUMBER,
	MEMBER_TIME,
	MEMBER_KEY,
	MEMBER_ADDRESS,
	MEMBER_STRINGS,
	MEMBER_PREFIXES,
	MEMBER_ENDPOINTS,
	MEMBER_POINTER, /* an object, in a block of its own; NULL while absent */
	MEMBER_LIST,    /* an array of objects */
	MEMBER_NESTED,  /* an object in JSON, whose members stand in the same struct */
	MEMBER_OTHER,   /* by functions */
};

/* For a member that is like no other. @at: its place. Only what is needed has to be there. */
struct json_member_functions {
	void (*clear)(void *at);
	void (*decode)(struct json_reader *r, const char *name, void *at);
	void (*encode)(struct json_writer *w, const char *name, const void *at);
	int (*copy)(const void *from, void *to); /* @to: a shallow copy; 0 or -ENOMEM, and empty */
	bool (*equal)(const void *a, const void *b); /* NULL: they count as equal */
};

struct json_member {
	const char *name;
	const struct json_members *of;
	const struct json_member_functions *by;
	uint16_t offset;
	uint16_t present;  /* the offset of a bool that says whether it is there; 0: none */
	uint8_t kind;      /* enum member_kind */
	uint8_t key;       /* enum key_kind */
	bool always : 1;   /* written even when it is empty */
	bool clamped : 1;  /* UINT16: what is too large becomes UINT16_MAX */
	bool no_nulls : 1; /* LIST: null items are left out, rather than refused */
	bool own : 1;      /* not read by a table that has @skip_own */
};

struct json_members {
	const char *what; /* for errors */
	const struct json_member *list;
	size_t count;
	size_t size; /* of the struct */
	/* After the members were read; @object may be changed, and @r marked. NULL is fine. */
	void (*finish)(struct json_reader *r, void *object);
	bool lenient; /* members of the wrong type are ignored */
	bool skip_own;
};

#define MEMBER_TYPE_TEXT          const char *
#define MEMBER_TYPE_BOOL          bool
#define MEMBER_TYPE_OPTIONAL_BOOL enum optional_bool
#define MEMBER_TYPE_INT           int64_t
#define MEMBER_TYPE_UINT16        uint16_t
#define MEMBER_TYPE_NUMBER        double
#define MEMBER_TYPE_TIME          nanoseconds
#define MEMBER_TYPE_KEY           struct public_key
#define MEMBER_TYPE_ADDRESS       struct address
#define MEMBER_TYPE_STRINGS       struct string_list
#define MEMBER_TYPE_PREFIXES      struct prefix_list
#define MEMBER_TYPE_ENDPOINTS     struct endpoint_list

/* 0, or an error of the compiler. */
#define MEMBER_CHECK(condition) (sizeof(char[(condition) ? 1 : -1]) - 1)

/** MEMBER() - @struct_type, a kind without its prefix, the name in JSON, the member, settings */
#define MEMBER(struct_type, kind_, json_name, member_, ...)                                       \
	{                                                                                         \
		.name = (json_name), .kind = MEMBER_##kind_,                                      \
		.offset = offsetof(struct_type, member_) +                                        \
			  MEMBER_CHECK(__builtin_types_compatible_p(                              \
				  __typeof__(((struct_type *)0)->member_), MEMBER_TYPE_##kind_)), \
		__VA_ARGS__                                                                       \
	}

/** MEMBER_STRUCT() - A pointer to a struct that @table describes */
#define MEMBER_STRUCT(struct_type, json_name, member_, table, ...)                   \
	{                                                                            \
		.name = (json_name), .kind = MEMBER_POINTER,                         \
		.offset = offsetof(struct_type, member_), .of = (table), __VA_ARGS__ \
	}

/** MEMBER_ITEMS() - A pointer to the items of an array, followed by their uint32_t count */
#define MEMBER_ITEMS(struct_type, json_name, items_, count_, table, ...)                \
	{                                                                               \
		.name = (json_name), .kind = MEMBER_LIST, .of = (table),                \
		.offset = offsetof(struct_type, items_) +                               \
			  MEMBER_CHECK(offsetof(struct_type, count_) ==                 \
				       offsetof(struct_type, items_) + sizeof(void *)), \
		__VA_ARGS__                                                             \
	}

/** MEMBER_WITHIN() - An object in JSON whose members @table places in the same struct */
#define MEMBER_WITHIN(json_name, table, ...)                                           \
	{                                                                              \
		.name = (json_name), .kind = MEMBER_NESTED, .of = (table), __VA_ARGS__ \
	}

/** MEMBER_BY() - A member with functions of its own */
#define MEMBER_BY(struct_type, json_name, member_, functions, ...)                       \
	{                                                                                \
		.name = (json_name), .kind = MEMBER_OTHER,                               \
		.offset = offsetof(struct_type, member_), .by = (functions), __VA_ARGS__ \
	}

#define MEMBERS(what_, struct_type, list_, ...)                                                \
	{                                                                                      \
		.what = (what_), .list = (list_), .count = sizeof(list_) / sizeof((list_)[0]), \
		.size = sizeof(struct_type), __VA_ARGS__                                       \
	}

/** members_clear() - Free what @object owns; it is all zero afterwards */
void members_clear(const struct json_members *all, void *object);

/** members_read() - Read the members of an open reader into @object, which is all zero */
void members_read(const struct json_members *all, struct json_reader *r, void *object);

/**
 * members_decode() - Read a JSON object
 * @ret: all zero after a failure
 *
 * Return: 0, -EINVAL with @err set (never for a lenient table), -ENOMEM
 */
int members_decode(const struct json_members *all, const json_t *json, void *ret,
		   struct error *err);

/** members_encode() - Write @object as a JSON object */
void members_encode(const struct json_members *all, struct json_writer *w, const char *name,
		    const void *object);

/** members_put() - Write the members of @object into the object that is open */
void members_put(const struct json_members *all, struct json_writer *w, const void *object);

/** members_copy() - A deep copy; 0, or -ENOMEM with @ret all zero */
int members_copy(const struct json_members *all, const void *from, void *ret);

/** member_equal() - Whether two structs have an equal member */
bool member_equal(const struct json_member *m, const void *a, const void *b);

/** members_equal() - Whether two structs have equal members */
bool members_equal(const struct json_members *all, const void *a, const void *b);
