/* statuses.h - calls that must succeed, and calls that must be refused with a message. Included behind cmocka.h. */
#ifndef STATUSES_H
#define STATUSES_H

#include <sonde/base.h>

#include <string.h>

/* Fails the test with the library's own message. */
#define assert_ok(call)                                                  \
    do {                                                                 \
        if ((call) != SONDE_OK)                                          \
            fail_msg("%s gives %s", #call, sonde_last_error()->message); \
    } while (0)

/* The status, and a message that names what was wrong. */
#define assert_refused(call, wanted, named)                                            \
    do {                                                                               \
        assert_int_equal(call, wanted);                                                \
        if (strstr(sonde_last_error()->message, named) == NULL)                        \
            fail_msg("'%s' does not name '%s'", sonde_last_error()->message, (named)); \
    } while (0)

#endif
