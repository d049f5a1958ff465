/* report/page.h - the parts of the page, as they lie in src/report/page/.        floor 9: report */
#ifndef SONDEP_PAGE_H
#define SONDEP_PAGE_H

/* Made by cmake/embed.cmake; a NUL stands behind each. */
extern const unsigned char sondep_page_html[], sondep_page_css[], sondep_page_js[];

#endif
