/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/file_types.c - the media type of a file, by its name or its first bytes
 *
 * The tables are those of Go's net/http, which the official daemon uses, so that a browser sees the
 * same (https://mimesniff.spec.whatwg.org/).
 */
#include "services/file_rules.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Sorted by extension. */
static const struct {
	const char *extension, *type;
} types[] = {
	{"ai", "application/postscript"},
	{"apk", "application/vnd.android.package-archive"},
	{"apng", "image/apng"},
	{"avif", "image/avif"},
	{"bin", "application/octet-stream"},
	{"bmp", "image/bmp"},
	{"com", "application/octet-stream"},
	{"css", "text/css; charset=utf-8"},
	{"csv", "text/csv; charset=utf-8"},
	{"doc", "application/msword"},
	{"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
	{"ehtml", "text/html; charset=utf-8"},
	{"eml", "message/rfc822"},
	{"eps", "application/postscript"},
	{"exe", "application/octet-stream"},
	{"flac", "audio/flac"},
	{"gif", "image/gif"},
	{"gz", "application/gzip"},
	{"htm", "text/html; charset=utf-8"},
	{"html", "text/html; charset=utf-8"},
	{"ico", "image/vnd.microsoft.icon"},
	{"ics", "text/calendar; charset=utf-8"},
	{"jfif", "image/jpeg"},
	{"jpeg", "image/jpeg"},
	{"jpg", "image/jpeg"},
	{"js", "text/javascript; charset=utf-8"},
	{"json", "application/json"},
	{"m4a", "audio/mp4"},
	{"mjs", "text/javascript; charset=utf-8"},
	{"mp3", "audio/mpeg"},
	{"mp4", "video/mp4"},
	{"oga", "audio/ogg"},
	{"ogg", "audio/ogg"},
	{"ogv", "video/ogg"},
	{"opus", "audio/ogg"},
	{"pdf", "application/pdf"},
	{"pjp", "image/jpeg"},
	{"pjpeg", "image/jpeg"},
	{"png", "image/png"},
	{"ppt", "application/vnd.ms-powerpoint"},
	{"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
	{"ps", "application/postscript"},
	{"rdf", "application/rdf+xml"},
	{"rtf", "application/rtf"},
	{"shtml", "text/html; charset=utf-8"},
	{"svg", "image/svg+xml"},
	{"text", "text/plain; charset=utf-8"},
	{"tif", "image/tiff"},
	{"tiff", "image/tiff"},
	{"txt", "text/plain; charset=utf-8"},
	{"vtt", "text/vtt; charset=utf-8"},
	{"wasm", "application/wasm"},
	{"wav", "audio/wav"},
	{"webm", "video/webm"},
	{"webmanifest", "application/manifest+json"},
	{"webp", "image/webp"},
	{"xbl", "text/xml; charset=utf-8"},
	{"xbm", "image/x-xbitmap"},
	{"xht", "application/xhtml+xml"},
	{"xhtml", "application/xhtml+xml"},
	{"xls", "application/vnd.ms-excel"},
	{"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	{"xml", "text/xml; charset=utf-8"},
	{"xsl", "text/xml; charset=utf-8"},
	{"zip", "application/zip"},
};

static int compare_extension(const void *key, const void *row)
{
	return strcasecmp(key, *(const char *const *)row);
}

const char *file_type_by_name(const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *dot = strrchr(slash ?: name, '.');
	const char *const *row = dot ? bsearch(dot + 1, types, ARRAY_SIZE(types), sizeof(types[0]),
					       compare_extension)
				     : NULL;

	return row ? row[1] : NULL;
}

/* A letter matches in both cases, and what follows must end a tag. */
static const char *const tags[] = {
	"<!DOCTYPE HTML", "<HTML", "<HEAD",  "<SCRIPT", "<IFRAME", "<H1",   "<DIV", "<FONT",
	"<TABLE",         "<A",    "<STYLE", "<TITLE",  "<B",      "<BODY", "<BR",  "<P",
	"<!--",
};

/* A '?' of the pattern matches any byte. */
#define ROW(pattern, type)                         \
	{                                          \
		pattern, sizeof(pattern) - 1, type \
	}
static const struct {
	const char *pattern;
	size_t length;
	const char *type;
} signatures[] = {
	ROW("%PDF-", "application/pdf"),
	ROW("%!PS-Adobe-", "application/postscript"),
	ROW("\xFE\xFF??", "text/plain; charset=utf-16be"),
	ROW("\xFF\xFE??", "text/plain; charset=utf-16le"),
	ROW("\xEF\xBB\xBF?", "text/plain; charset=utf-8"),
	ROW("\0\0\1\0", "image/x-icon"),
	ROW("\0\0\2\0", "image/x-icon"),
	ROW("BM", "image/bmp"),
	ROW("GIF87a", "image/gif"),
	ROW("GIF89a", "image/gif"),
	ROW("RIFF????WEBPVP", "image/webp"),
	ROW("\x89PNG\r\n\x1A\n", "image/png"),
	ROW("\xFF\xD8\xFF", "image/jpeg"),
	ROW("FORM????AIFF", "audio/aiff"),
	ROW("ID3", "audio/mpeg"),
	ROW("OggS\0", "application/ogg"),
	ROW("MThd\0\0\0\6", "audio/midi"),
	ROW("RIFF????AVI ", "video/avi"),
	ROW("RIFF????WAVE", "audio/wave"),
	ROW("\x1A\x45\xDF\xA3", "video/webm"),
	ROW("\0\1\0\0", "font/ttf"),
	ROW("OTTO", "font/otf"),
	ROW("ttcf", "font/collection"),
	ROW("wOFF", "font/woff"),
	ROW("wOF2", "font/woff2"),
	ROW("\x1F\x8B\x08", "application/x-gzip"),
	ROW("PK\3\4", "application/zip"),
	ROW("Rar!\x1A\7\0", "application/x-rar-compressed"),
	ROW("Rar!\x1A\7\1\0", "application/x-rar-compressed"),
	ROW("\0asm", "application/wasm"),
};

static bool is_tag(const uint8_t *bytes, size_t length, const char *tag)
{
	size_t size = strlen(tag);

	return length > size && strncasecmp((const char *)bytes, tag, size) == 0 &&
	       (bytes[size] == ' ' || bytes[size] == '>');
}

static bool has_pattern(const uint8_t *bytes, size_t length, const char *pattern, size_t size)
{
	if (length < size)
		return false;
	for (size_t i = 0; i < size; i++)
		if (pattern[i] != '?' && (uint8_t)pattern[i] != bytes[i])
			return false;
	return true;
}

/* is_mp4() - A first box "ftyp" that names a brand "mp4" */
static bool is_mp4(const uint8_t *bytes, size_t length)
{
	size_t size;

	if (length < 12 || memcmp(bytes + 4, "ftyp", 4) != 0)
		return false;
	size = (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
	if (size > length || size % 4 != 0)
		return false;
	for (size_t at = 8; at + 3 <= size; at += 4)
		if (at != 12 && memcmp(bytes + at, "mp4", 3) == 0)
			return true;
	return false;
}

static bool is_text(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (bytes[i] <= 0x08 || bytes[i] == 0x0B ||
		    (bytes[i] >= 0x0E && bytes[i] <= 0x1A) ||
		    (bytes[i] >= 0x1C && bytes[i] <= 0x1F))
			return false;
	return true;
}

const char *file_type_by_content(const uint8_t *bytes, size_t length)
{
	size_t blank = 0;

	while (blank < length && bytes[blank] != 0 && strchr("\t\n\f\r ", bytes[blank]))
		blank++;
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
		if (is_tag(bytes + blank, length - blank, tags[i]))
			return "text/html; charset=utf-8";
	if (length - blank >= 5 && memcmp(bytes + blank, "<?xml", 5) == 0)
		return "text/xml; charset=utf-8";
	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++)
		if (has_pattern(bytes, length, signatures[i].pattern, signatures[i].length))
			return signatures[i].type;
	if (is_mp4(bytes, length))
		return "video/mp4";
	return is_text(bytes + blank, length - blank) ? "text/plain; charset=utf-8"
						      : "application/octet-stream";
}
