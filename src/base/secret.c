/* SPDX-License-Identifier: BSD-3-Clause */
/* base/secret.c - bytes that must not outlive their use */
#include "base/secret.h"

#include <stdlib.h>

bool secret_equal(const void *a, const void *b, size_t length)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t difference = 0;

	for (size_t i = 0; i < length; i++)
		difference |= (uint8_t)(x[i] ^ y[i]);
	return difference == 0;
}

bool secret_key_is_zero(const struct secret_key *key)
{
	static const struct secret_key zero;

	return secret_equal(key, &zero, sizeof(zero));
}

void secret_string_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}
