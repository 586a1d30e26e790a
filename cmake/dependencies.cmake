# Every dependency is one row: variable, pkg-config module, Debian package. A missing one is named
# with the command that installs it.
find_package(PkgConfig REQUIRED)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

set(XS_MISSING "")
function(xs_dependency name module package)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET ${module})
  if(${name}_FOUND)
    set(XS_DEP_${name} PkgConfig::${name} PARENT_SCOPE)
  else()
    list(APPEND XS_MISSING ${package})
    set(XS_MISSING "${XS_MISSING}" PARENT_SCOPE)
  endif()
endfunction()

xs_dependency(MSGPACK "msgpack" libmsgpack-dev)
xs_dependency(SQLITE "sqlite3" libsqlite3-dev)
xs_dependency(CRYPTO "libcrypto>=3" libssl-dev)
xs_dependency(SODIUM "libsodium" libsodium-dev)
xs_dependency(PCRE2 "libpcre2-8" libpcre2-dev)
xs_dependency(UTF8PROC "libutf8proc" libutf8proc-dev)
xs_dependency(YAML "yaml-0.1" libyaml-dev)
xs_dependency(EXPAT "expat" libexpat1-dev)
xs_dependency(ZLIB "zlib" zlib1g-dev)
xs_dependency(EVENT "libevent_core" libevent-dev)
xs_dependency(CURL "libcurl>=7.85" libcurl4-openssl-dev)
xs_dependency(ZIP "libzip" libzip-dev)
xs_dependency(HIREDIS "hiredis" libhiredis-dev)
xs_dependency(MHD "libmicrohttpd" libmicrohttpd-dev)
xs_dependency(LWS "libwebsockets" libwebsockets-dev)
xs_dependency(CMOCKA "cmocka" libcmocka-dev)

if(XS_MISSING)
  list(JOIN XS_MISSING " " missing)
  message(FATAL_ERROR "These Debian packages are missing: ${missing}\n"
                      "Install them with: apt-get install ${missing}\n"
                      "or run ./scripts/setup, which does.")
endif()

set(XS_DEP_THREADS Threads::Threads)
set(XS_DEP_MATH m)
set(XS_DEP_DL ${CMAKE_DL_LIBS})
