# pillion_room(NAME SOURCES file... [ROOMS room...] [LIBRARIES target...])
#   A room is the static library room_NAME. ROOMS are the rooms it may include.
function(pillion_room name)
	cmake_parse_arguments(arg "" "" "SOURCES;ROOMS;LIBRARIES" ${ARGN})
	add_library(room_${name} STATIC ${arg_SOURCES})
	file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
	string(JOIN " " line "room ${folder}" ${arg_ROOMS})
	set_property(GLOBAL APPEND PROPERTY PILLION_ROOMS ${line})
	list(TRANSFORM arg_ROOMS PREPEND room_)
	target_link_libraries(room_${name} PUBLIC pillion_flags ${arg_ROOMS} ${arg_LIBRARIES})
endfunction()

# pillion_program(NAME SOURCES file... ROOMS room... [LIBRARIES target...])
#   An executable by role; all land in build/<preset>/ beside each other.
function(pillion_program name)
	cmake_parse_arguments(arg "" "" "SOURCES;ROOMS;LIBRARIES" ${ARGN})
	add_executable(${name} ${arg_SOURCES})
	string(JOIN " " line "program ${name}" ${arg_ROOMS})
	set_property(GLOBAL APPEND PROPERTY PILLION_ROOMS ${line})
	list(TRANSFORM arg_ROOMS PREPEND room_)
	target_link_libraries(${name} PRIVATE pillion_flags ${arg_ROOMS} ${arg_LIBRARIES})
	set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
endfunction()

# pillion_unit_test(NAME SOURCES file... ROOMS room... [LIBRARIES target...])
#   A cmocka program, run by ctest as unit.NAME in the source's tests/ folder.
function(pillion_unit_test name)
	cmake_parse_arguments(arg "" "" "SOURCES;ROOMS;LIBRARIES" ${ARGN})
	add_executable(test_${name} ${arg_SOURCES})
	list(TRANSFORM arg_ROOMS PREPEND room_)
	target_link_libraries(test_${name} PRIVATE pillion_flags ${arg_ROOMS} ${arg_LIBRARIES} lib_cmocka
		pillion_test_flags)
	target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
	add_test(NAME unit.${name} COMMAND test_${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/tests)
	set_tests_properties(unit.${name} PROPERTIES TIMEOUT 300 LABELS unit)
endfunction()

# pillion_fuzz_target(NAME SOURCES file... ROOMS room... [LIBRARIES target...])
#   tests/fuzz/NAME.c defines LLVMFuzzerTestOneInput. With the fuzz preset it is a
#   libFuzzer program; in every other preset it is linked with a replay main and
#   ctest runs it over tests/fuzz/corpus/NAME as fuzz.NAME.
function(pillion_fuzz_target name)
	cmake_parse_arguments(arg "" "" "SOURCES;ROOMS;LIBRARIES" ${ARGN})
	list(TRANSFORM arg_ROOMS PREPEND room_)
	add_executable(fuzz_${name} ${arg_SOURCES})
	target_link_libraries(fuzz_${name} PRIVATE pillion_flags ${arg_ROOMS} ${arg_LIBRARIES}
		pillion_test_flags)
	target_include_directories(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
	if(PILLION_FUZZ)
		target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
	else()
		target_sources(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
		add_test(NAME fuzz.${name} COMMAND fuzz_${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
		set_tests_properties(fuzz.${name} PROPERTIES TIMEOUT 300 LABELS unit)
	endif()
endfunction()

# pillion_write_rooms()
#   Write the links to build/<preset>/rooms.txt, for the lints; call it last.
function(pillion_write_rooms)
	get_property(rooms GLOBAL PROPERTY PILLION_ROOMS)
	list(JOIN rooms "\n" text)
	file(WRITE ${CMAKE_BINARY_DIR}/rooms.txt "${text}\n")
endfunction()
