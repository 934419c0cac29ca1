/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/file_rules.h - requests for files: paths, conditions, ranges, types, listings (pure)
 *
 * The rules are those of Go's http.FileServer, by which the official daemon serves files; RFC 9110
 * §13 and §14. In addition a file has an ETag.
 */
#pragma once

#include "base/buffer.h"
#include "transport/http1.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILE_RANGES_MAX 32u /* a request with more gets the whole file */
#define FILE_SNIFF_MAX  512u
#define FILE_ETAG_MAX   64u
#define FILE_DATE_MAX   32u

/** struct file_path - What a request names, below the handler's path */
struct file_path {
	char *url;  /* of the request: decoded and cleaned, with the mount; begins with '/' */
	char *name; /* below the mount, without a '/' at either end; "": the mount itself */
	bool slash; /* the request's path has a '/' at its end */
};

/**
 * file_path_read() - From a request's target
 * @target: path and query, as sent
 * @mount:  of the handler, without a '/' at its end, unless it is the whole
 * @ret:    file_path_free() is due, also on failure
 *
 * Return: 0; -ENOENT: it is not below the mount, or can't be the name of a file; -EINVAL: it has a
 * broken escape; -ENAMETOOLONG; -ENOMEM
 */
int file_path_read(const char *target, const char *mount, struct file_path *ret);
void file_path_free(struct file_path *path);

/** file_path_location() - Append the URL path of @url, which is decoded, and the query of @target */
int file_path_location(const char *url, const char *target, struct buffer *out);

/** file_type_by_name() - By the extension, or NULL */
const char *file_type_by_name(const char *name);

/** file_type_by_content() - By the first FILE_SNIFF_MAX bytes */
const char *file_type_by_content(const uint8_t *bytes, size_t length);

/** struct file_facts - A file as it is now */
struct file_facts {
	uint64_t size;
	int64_t modified;         /* seconds since 1970; 0: unknown */
	char etag[FILE_ETAG_MAX]; /* with its quotes; "": none */
};

/** file_etag() - Of a file's state */
void file_etag(uint64_t size, int64_t seconds, uint32_t nanoseconds,
	       char ret[static FILE_ETAG_MAX]);

struct file_range {
	uint64_t start, length;
};

/** struct file_plan - What to answer */
struct file_plan {
	int status; /* 200, 206, 304, 412, 416 */
	struct file_range ranges[FILE_RANGES_MAX];
	size_t range_count;
	bool invalid; /* with 416: the header is invalid, not behind the end of the file */
};

/** file_plan_make() - By the conditions and ranges of a GET or HEAD */
void file_plan_make(const struct http1_head *request, const struct file_facts *facts,
		    struct file_plan *ret);

/** file_date() - As in Last-Modified; file_date_read() - 0 or -EINVAL */
const char *file_date(int64_t seconds, char ret[static FILE_DATE_MAX]);
int file_date_read(const char *text, int64_t *ret);

/**
 * file_listing() - Append the page of a folder
 * @names: @length bytes: names, each ended by a zero, those of folders by "/" and zero
 *
 * Return: 0, -ENOMEM, -EMSGSIZE
 */
int file_listing(const char *names, size_t length, bool cut, struct buffer *out);
