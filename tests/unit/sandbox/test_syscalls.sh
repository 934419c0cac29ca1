#!/bin/sh
# tests/unit/sandbox/test_syscalls.sh SCRIPT - what scripts/syscalls makes of comments
set -eu
script=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expect() { # NAME WANTED-LINE
	grep -qxF "$2" "$folder/out" || {
		echo "$1: no line $2 in:"
		cat "$folder/out"
		exit 1
	}
}
refuse() { # COMMENT
	echo "$1" >"$folder/bad.c"
	if "$script" --list "$folder/bad.c" >/dev/null 2>&1; then
		echo "accepted: $1"
		exit 1
	fi
}

cat >"$folder/a.c" <<'EOF'
/* #syscalls: read fcntl:F_GETFL */
/*
 * Text before. #syscalls-enosys: clone3 read
 * #syscalls-sanitizer: wait4
 */
EOF
echo '/* #syscalls: read write */' >"$folder/b.c"
"$script" --list "$folder/a.c" "$folder/b.c" >"$folder/out"
expect allow '	{.name = "read", .action = SANDBOX_ALLOW},'
expect selector '	{.name = "fcntl", .value = F_GETFL, .has_value = true, .action = SANDBOX_ALLOW},'
expect enosys '	{.name = "clone3", .action = SANDBOX_ENOSYS},'
[ "$(grep -c '"read"' "$folder/out")" = 1 ] # once, and allowed wins
# The sanitizer's calls come after the #ifdef.
sed -n '/#ifdef PILLION_SANITIZED/,$p' "$folder/out" | grep -q wait4
if sed -n '1,/#ifdef PILLION_SANITIZED/p' "$folder/out" | grep -q wait4; then
	echo 'a call for sanitizers alone is in every build'
	exit 1
fi

refuse '/* #syscalls: ioctl */'
refuse '/* #syscalls: fcntl:getfl */'
refuse '/* #syscalls: read:FAST */'
refuse '/* #syscalls: read, write */'

"$script" --names cc | grep -q '"openat"'
