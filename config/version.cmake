# The version of a build: CHANGELOG.md says it, git adds which state of the tree it is.
#
#   0.1.0                               the newest heading; [Unreleased] is empty, and HEAD is the
#                                       commit that last changed CHANGELOG.md (or there is no git)
#   0.1.0+git20261130120000.5e69b68     anything later: time (UTC) and name of the commit
#   0.1.0+git20261130120000.5e69b68.dirty   … with changes that are in no commit
#   0.1.0+unreleased                    [Unreleased] is not empty, and there is no git
#
# dpkg and apt sort them in this order, and before 0.1.1. A script too:
#
#   cmake -D SOURCE=TREE [-D OUTPUT=FILE.c] -P version.cmake     writes the file, or prints

function(mmf_version_git source ret)
    # The tree may be another user's: nothing of it is executed by these.
    execute_process(COMMAND ${CMAKE_COMMAND} -E env TZ=UTC git -c safe.directory=* -C ${source} ${ARGN}
        OUTPUT_VARIABLE out RESULT_VARIABLE status ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT status EQUAL 0)
        set(out "")
    endif()
    set(${ret} "${out}" PARENT_SCOPE)
endfunction()

# The newest heading's number, and whether [Unreleased] says anything.
function(mmf_version_changelog source ret_number ret_unreleased)
    file(READ ${source}/CHANGELOG.md text)
    if(NOT text MATCHES "\n## \\[Unreleased\\]([^\n]*\n.*)")
        message(FATAL_ERROR "CHANGELOG.md has no heading [Unreleased]")
    endif()
    set(rest "${CMAKE_MATCH_1}")
    if(NOT rest MATCHES "\n## \\[([0-9]+\\.[0-9]+\\.[0-9]+)\\]")
        message(FATAL_ERROR "CHANGELOG.md has no heading with a version, as in ## [1.2.3]")
    endif()
    set(${ret_number} ${CMAKE_MATCH_1} PARENT_SCOPE)
    string(FIND "${rest}" "\n## [" end)
    string(SUBSTRING "${rest}" 0 ${end} unreleased)
    string(STRIP "${unreleased}" unreleased)
    set(${ret_unreleased} "${unreleased}" PARENT_SCOPE)
endfunction()

function(mmf_version source ret)
    mmf_version_changelog(${source} number unreleased)
    set(state "")
    # A tree that was unpacked within some other repository is not that one's.
    mmf_version_git(${source} prefix rev-parse --show-cdup)
    if(EXISTS ${source}/.git AND prefix STREQUAL "")
        mmf_version_git(${source} state log -1 --abbrev=7 --date=format-local:%Y%m%d%H%M%S
            --format=%cd.%h)
    endif()
    if(NOT state STREQUAL "")
        mmf_version_git(${source} head log -1 --format=%H)
        mmf_version_git(${source} heading log -1 --format=%H -- CHANGELOG.md)
        mmf_version_git(${source} changes status --porcelain --untracked-files=no)
        if(NOT unreleased STREQUAL "" OR NOT head STREQUAL heading OR NOT changes STREQUAL "")
            string(APPEND number "+git${state}")
        endif()
        if(NOT changes STREQUAL "")
            string(APPEND number ".dirty")
        endif()
    elseif(NOT unreleased STREQUAL "")
        string(APPEND number "+unreleased")
    endif()
    set(${ret} ${number} PARENT_SCOPE)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
    mmf_version(${SOURCE} version)
    if(DEFINED OUTPUT)
        file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
#include "config/version.h"

const char version_text[] = "@version@";
]])
    else()
        execute_process(COMMAND ${CMAKE_COMMAND} -E echo ${version})
    endif()
endif()
