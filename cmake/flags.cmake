# Warnings are errors, hardening is on; both compilers must be clean.
add_library(pillion_flags INTERFACE)
target_compile_definitions(pillion_flags INTERFACE _GNU_SOURCE PILLION_VERSION="${PROJECT_VERSION}")
target_include_directories(pillion_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
target_compile_options(pillion_flags INTERFACE
	-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
	-Wformat=2 -Wvla -Werror -fstack-protector-strong -fcf-protection
	-fno-strict-aliasing -fno-common)
target_link_options(pillion_flags INTERFACE -pie -Wl,-z,relro,-z,now -Wl,--as-needed)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
	# clang 14 wants a flag that announces its own removal.
	# Text for people is cut to fit on purpose; snprintf() says so by its name.
	target_compile_options(pillion_flags INTERFACE -ftrivial-auto-var-init=zero
		-Wno-format-truncation)
endif()
if(PILLION_SANITIZE)
	target_compile_options(pillion_flags INTERFACE -fsanitize=${PILLION_SANITIZE}
		-fno-sanitize-recover=undefined -fno-omit-frame-pointer)
	target_link_options(pillion_flags INTERFACE -fsanitize=${PILLION_SANITIZE})
	target_compile_definitions(pillion_flags INTERFACE PILLION_SANITIZED=1)
else()
	target_compile_options(pillion_flags INTERFACE $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>)
endif()
if(PILLION_COVERAGE)
	target_compile_options(pillion_flags INTERFACE --coverage)
	target_link_options(pillion_flags INTERFACE --coverage)
endif()
if(PILLION_FUZZ)
	target_compile_options(pillion_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Tests include .c files and mix integer types freely.
add_library(pillion_test_flags INTERFACE)
target_compile_options(pillion_test_flags INTERFACE -Wno-missing-prototypes -Wno-conversion
	-Wno-sign-conversion)
