/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/prefs.c - any JSON as ipn.Prefs and as ipn.MaskedPrefs */
#include "node/prefs.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *object = json_loadb((const char *)data, size, 0, NULL);
	struct prefs decoded, edited;
	struct error err;

	if (!object)
		return 0;
	if (prefs_decode(object, &decoded, &err) == 0) {
		json_t *again = prefs_json(&decoded);
		struct prefs twice;

		/* What we wrote we read, and it is the same. */
		if (!again || prefs_decode(again, &twice, &err) < 0 ||
		    !prefs_equal(&decoded, &twice))
			abort();
		prefs_free(&twice);
		json_decref(again);
		(void)prefs_check(&decoded, &err);
		prefs_free(&decoded);
	}
	if (prefs_init(&edited) == 0) {
		if (prefs_edit(&edited, object, &err) < 0) {
			struct prefs fresh;

			/* A refused edit changed nothing. */
			if (prefs_init(&fresh) == 0) {
				if (!prefs_equal(&edited, &fresh))
					abort();
				prefs_free(&fresh);
			}
		}
		prefs_free(&edited);
	}
	json_decref(object);
	return 0;
}
