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

/* Kinds of members beside those of enum value_kind. */
enum member_kind {
	MEMBER_POINTER = 64, /* an object, in a block of its own; NULL while absent */
	MEMBER_NESTED,       /* an object in JSON, whose members stand in the same struct */
	MEMBER_ITEMS,        /* an array of objects; null items are left out */
	MEMBER_MAP,          /* an object with names of any kind: a list, sorted by name */
	MEMBER_OTHER,        /* by functions */
};

/* For a member that is like no other. @at: its place, with zeros where @decode begins. */
struct json_member_functions {
	void (*clear)(void *at);
	void (*decode)(struct json_reader *r, const char *name, void *at);
	void (*encode)(struct json_writer *w, const char *name, const void *at);
};

struct json_member {
	const char *name;
	const struct json_members *of; /* of a MAP: of its items, see MEMBERS() */
	const struct json_member_functions *by;
	uint16_t offset;
	uint16_t present; /* the offset of a bool that says whether it is there; 0: none */
	uint8_t kind;     /* enum value_kind or member_kind */
	bool always : 1;  /* written even when it is empty */
	bool by_id : 1;   /* MAP: the names are positive numbers */
	bool own : 1;     /* not read by a table that has @skip_own */
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

#define MEMBER_TYPE_BOOL          bool
#define MEMBER_TYPE_OPTIONAL_BOOL enum optional_bool
#define MEMBER_TYPE_INT           int64_t
#define MEMBER_TYPE_UINT16        uint16_t
#define MEMBER_TYPE_NUMBER        double
#define MEMBER_TYPE_RAW           const char *
#define MEMBER_TYPE_TEXT          const char *
#define MEMBER_TYPE_TIME          nanoseconds
#define MEMBER_TYPE_ADDRESS       struct address
#define MEMBER_TYPE_NODE_KEY      struct public_key
#define MEMBER_TYPE_MACHINE_KEY   struct public_key
#define MEMBER_TYPE_DISCO_KEY     struct public_key
#define MEMBER_TYPE_INTS          struct int_list
#define MEMBER_TYPE_STRINGS       struct string_list
#define MEMBER_TYPE_PREFIXES      struct prefix_list
#define MEMBER_TYPE_ENDPOINTS     struct endpoint_list

/* 0, or an error of the compiler. */
#define MEMBER_CHECK(condition) (sizeof(char[(condition) ? 1 : -1]) - 1)

/** MEMBER() - @struct_type, a kind without its prefix, the name in JSON, the member, settings */
#define MEMBER(struct_type, kind_, json_name, member_, ...)                                       \
	{                                                                                         \
		.name = (json_name), .kind = VALUE_##kind_,                                       \
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

/** MEMBER_LIST() - ITEMS or MAP: a pointer to the items, followed by their uint32_t count */
#define MEMBER_LIST(struct_type, kind_, json_name, items_, count_, table, ...)          \
	{                                                                               \
		.name = (json_name), .kind = MEMBER_##kind_, .of = (table),             \
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

/**
 * MEMBERS() - A table: for errors a name of @struct_type, the list of its members, settings
 *
 * The items of a MAP begin with their name, a const char * (with @by_id an int64_t). The only
 * member of their table describes the value under that name.
 */
#define MEMBERS(what_, struct_type, list_, ...)                                                \
	{                                                                                      \
		.what = (what_), .list = (list_), .count = sizeof(list_) / sizeof((list_)[0]), \
		.size = sizeof(struct_type), __VA_ARGS__                                       \
	}

/** DECLARE_MEMBERS() - The table of struct @type, and type_clear(), _decode() and _encode() by it */
#define DECLARE_MEMBERS(type)                                                                    \
	extern const struct json_members type##_members;                                         \
	static inline void type##_clear(struct type *object)                                     \
	{                                                                                        \
		members_clear(&type##_members, object);                                          \
	}                                                                                        \
	static inline int type##_decode(const json_t *json, struct type *ret, struct error *err) \
	{                                                                                        \
		return members_decode(&type##_members, json, ret, err);                          \
	}                                                                                        \
	static inline void type##_encode(struct json_writer *w, const char *name,                \
					 const struct type *object)                              \
	{                                                                                        \
		members_encode(&type##_members, w, name, object);                                \
	}                                                                                        \
	_Static_assert(sizeof(struct type) > 0, "ends with a semicolon")

/** members_clear() - Free what @object owns; it is all zero afterwards */
void members_clear(const struct json_members *all, void *object);

/**
 * members_decode() - Read a JSON object
 * @ret: all zero after a failure
 *
 * Return: 0, -EINVAL with @err set (never for a lenient table), -ENOMEM
 */
int members_decode(const struct json_members *all, const json_t *json, void *ret,
		   struct error *err);

/** members_read() - Read the member @name of @outer, an object, into @ret, which is all zero */
void members_read(const struct json_members *all, struct json_reader *outer, const char *name,
		  const json_t *json, void *ret);

/** members_parse() - The same from text, not JSON is -EINVAL too */
int members_parse(const struct json_members *all, struct json_range text, void *ret,
		  struct error *err);

/** members_encode() - Write @object as a JSON object */
void members_encode(const struct json_members *all, struct json_writer *w, const char *name,
		    const void *object);

/** members_copy() - A deep copy, by way of JSON; 0, or -ENOMEM with @ret all zero */
int members_copy(const struct json_members *all, const void *from, void *ret);

/** member_equal() - Whether two structs have an equal member; one by functions counts as equal */
bool member_equal(const struct json_member *m, const void *a, const void *b);

/** member_swap() - Exchange a member, not MEMBER_NESTED or MEMBER_OTHER, of two structs */
void member_swap(const struct json_member *m, void *a, void *b);
