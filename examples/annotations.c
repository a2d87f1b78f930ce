/* What a program can say to castaway and ask of it, in C. Built without castaway, it runs without it just as well:
 *
 *     build/examples/example_annotations
 *     castaway run --interval 0 -- build/examples/example_annotations
 */
#include "include/castaway/castaway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pointers that nobody can read as such, as compressed ones: castaway has to be told. */
static uintptr_t hidden_table;

static void build_hidden_table(void) {
  char **table = calloc(16, sizeof *table);
  for (int i = 0; i < 16; ++i) table[i] = strdup("an entry of the table");
  castaway_ignore(table); /* and with it all that it reaches */
  hidden_table = ~(uintptr_t)table;
}

/* A third-party library that allocates once and never frees. */
static void initialize_library(void) {
  castaway_disable();
  for (int i = 0; i < 10; ++i) strcpy(malloc(100), "initialized");
  castaway_enable();
}

static void handle_request(int number) {
  char *response = malloc(1000);
  snprintf(response, 1000, "response %d", number);
  if (number % 3 != 0) free(response); /* the bug: every third is forgotten */
}

static void page_somebody(const struct castaway_stats *stats, const char *profile) {
  (void)profile; /* its path, for whoever wants to keep it */
  printf("leak: %llu blocks\n", (unsigned long long)stats->leaked_objects);
}

int main(void) {
  build_hidden_table();
  initialize_library();
  castaway_on_leak(page_somebody);
  for (int i = 0; i < 31; ++i) handle_request(i);
  handle_request(1);

  /* A health check. */
  struct castaway_stats stats;
  if (castaway_snap() && castaway_stats(&stats))
    printf("health: %llu leaked threads, %llu leaked bytes\n", (unsigned long long)stats.leaked_threads,
           (unsigned long long)stats.leaked_bytes);
  else
    printf("health: not known, castaway is not here\n");
  return hidden_table == 0;
}
