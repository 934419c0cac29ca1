/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/replay.c - run a fuzz target over the files of its corpus, without libFuzzer */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1 << 20)

int main(int argc, char **argv)
{
	uint8_t *data = malloc(INPUT_MAX);
	struct dirent *entry;
	int files = 0;
	DIR *corpus;

	if (argc != 2 || !data || !(corpus = opendir(argv[1]))) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER (it must exist)\n", argv[0]);
		return 2;
	}
	LLVMFuzzerTestOneInput(data, 0);
	while ((entry = readdir(corpus))) {
		char path[4096];
		size_t size;
		FILE *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		file = fopen(path, "rb");
		if (!file) {
			perror(path);
			return 1;
		}
		size = fread(data, 1, INPUT_MAX, file);
		fclose(file);
		LLVMFuzzerTestOneInput(data, size);
		files++;
	}
	closedir(corpus);
	free(data);
	printf("%d inputs replayed\n", files);
	return files ? 0 : 1;
}
