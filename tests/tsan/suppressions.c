/* What ThreadSanitizer builds are not told of: the two libraries that are not instrumented, so that
 * what orders their threads cannot be seen. Races between our own threads are reported.
 *
 * librdkafka: a lock destroyed after the last atomic reference looks like a race. OpenBLAS (LAPACK
 * included): the calls of memset by its threads are seen, the locks by which it hands them their
 * share of a matrix are not.
 */

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:librdkafka.so.1\n"
           "race:libopenblas.so.0\n";
}
