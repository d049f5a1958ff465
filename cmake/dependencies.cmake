# The parts that are not ours (design: few, well kept, packaged for Debian and Homebrew), as targets.

if(APPLE)
  # Homebrew's OpenMP lies outside the compiler's paths.
  execute_process(COMMAND brew --prefix libomp OUTPUT_VARIABLE brew_libomp OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(brew_libomp AND NOT OpenMP_ROOT)
    set(OpenMP_ROOT ${brew_libomp})
  endif()
endif()

find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(Threads REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(CAIRO REQUIRED IMPORTED_TARGET cairo)
pkg_check_modules(PANGO REQUIRED IMPORTED_TARGET pangocairo)
pkg_check_modules(POPT REQUIRED IMPORTED_TARGET popt)

if(APPLE)
  find_library(SONDE_BLAS Accelerate REQUIRED)
else()
  # One threading runtime: the OpenMP build of OpenBLAS. It lies in a folder of its own on Debian, where the plain name may
  # be the pthread build.
  find_library(SONDE_BLAS NAMES openblas PATH_SUFFIXES openblas-openmp ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp REQUIRED)
  find_path(SONDE_BLAS_INCLUDE cblas.h PATH_SUFFIXES openblas-openmp ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp openblas
    REQUIRED)
endif()

set(SONDE_LIBS PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC PkgConfig::LIBZIP PkgConfig::ZLIB PkgConfig::ZSTD
  PkgConfig::SQLITE PkgConfig::CAIRO PkgConfig::PANGO OpenMP::OpenMP_C Threads::Threads ${SONDE_BLAS} m)
