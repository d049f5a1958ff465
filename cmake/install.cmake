# make install: headers, both libraries, the program, its completions, sonde.pc and the CMake package.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS sonde_shared EXPORT sonde_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS sonde_archive ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_SOURCE_DIR}/include/sonde.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/sonde DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

# pkg-config. What the archive needs besides is under Requires.private and Libs.private (pkg-config --static).
get_filename_component(SONDE_BLAS_FOLDER ${SONDE_BLAS} DIRECTORY)
if(APPLE)
  set(SONDE_LIBS_PRIVATE "-framework Accelerate ${OpenMP_C_LIBRARIES} -lm")
else()
  string(REPLACE ";" " " SONDE_LIBS_PRIVATE "-L${SONDE_BLAS_FOLDER} -lopenblas;${OpenMP_C_FLAGS};-pthread;-lm")
endif()
file(RELATIVE_PATH SONDE_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_SOURCE_DIR}/cmake/sonde.pc.in ${CMAKE_BINARY_DIR}/sonde.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/sonde.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# find_package(sonde): the target sonde::sonde.
set(SONDE_PACKAGE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/sonde)
set_target_properties(sonde_shared PROPERTIES EXPORT_NAME sonde)
install(EXPORT sonde_targets NAMESPACE sonde:: FILE sondeTargets.cmake DESTINATION ${SONDE_PACKAGE_FOLDER})
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/sondeConfig.cmake.in ${CMAKE_BINARY_DIR}/sondeConfig.cmake
  INSTALL_DESTINATION ${SONDE_PACKAGE_FOLDER})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/sondeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/sondeConfig.cmake ${CMAKE_BINARY_DIR}/sondeConfigVersion.cmake
  DESTINATION ${SONDE_PACKAGE_FOLDER})

# The models that come with it.
install(DIRECTORY ${CMAKE_SOURCE_DIR}/models DESTINATION ${CMAKE_INSTALL_DATADIR}/sonde)

if(TARGET sonde)
  install(TARGETS sonde RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

  # Completions come from the program's own option tables.
  set(completions bash share/bash-completion/completions sonde zsh share/zsh/site-functions _sonde
    fish share/fish/vendor_completions.d sonde.fish)
  while(completions)
    list(POP_FRONT completions shell folder name)
    install(CODE "
      set(file ${CMAKE_BINARY_DIR}/completions/${name})
      file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/completions)
      execute_process(COMMAND ${CMAKE_BINARY_DIR}/sonde completion ${shell} OUTPUT_FILE \${file} RESULT_VARIABLE failed)
      if(failed)
        message(FATAL_ERROR \"sonde completion ${shell}: exit status \${failed}\")
      endif()
      file(INSTALL \${file} DESTINATION \${CMAKE_INSTALL_PREFIX}/${folder})")
  endwhile()
endif()
