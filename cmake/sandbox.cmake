# Sandbox profiles: the system calls of a program, read from comments in the sources that it links.

# pillion_room_sources(VARIABLE ROOM...): the source files of rooms
function(pillion_room_sources variable)
	set(sources)
	foreach(room ${ARGN})
		get_target_property(names room_${room} SOURCES)
		get_target_property(folder room_${room} SOURCE_DIR)
		list(FILTER names INCLUDE REGEX "\\.c$")
		list(TRANSFORM names PREPEND ${folder}/)
		list(APPEND sources ${names})
	endforeach()
	set(${variable} ${sources} PARENT_SCOPE)
endfunction()

# pillion_sandbox_profile(NAME PROCESS file... [FILES])
#   The library sandbox_profile_NAME holds struct sandbox_profile sandbox_profile_NAME: the system
#   calls that comments in the files name. PROCESS is the name of the process; with FILES the
#   program opens files by path.
function(pillion_sandbox_profile name process)
	cmake_parse_arguments(arg "FILES" "" "" ${ARGN})
	set(script ${CMAKE_SOURCE_DIR}/scripts/syscalls)
	set(list ${CMAKE_CURRENT_BINARY_DIR}/${name}_syscalls.inc)
	set(files false)
	if(arg_FILES)
		set(files true)
	endif()
	set(sources)
	foreach(source ${arg_UNPARSED_ARGUMENTS})
		get_filename_component(path ${source} ABSOLUTE)
		list(APPEND sources ${path})
	endforeach()
	configure_file(${CMAKE_SOURCE_DIR}/src/sandbox/profile.c.in ${name}_profile.c @ONLY)
	add_custom_command(OUTPUT ${list} COMMAND ${script} --list ${sources} > ${list}
		DEPENDS ${script} ${sources} COMMENT "System calls of ${process}" VERBATIM)
	add_library(sandbox_profile_${name} STATIC ${CMAKE_CURRENT_BINARY_DIR}/${name}_profile.c ${list})
	target_link_libraries(sandbox_profile_${name} PUBLIC room_sandbox)
endfunction()
