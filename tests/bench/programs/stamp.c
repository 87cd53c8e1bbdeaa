/* The job of every benchmark: say when it started, then perhaps sleep.
 *
 *     stamp FILE [ID [MILLISECONDS]]
 *
 * Appends one record of 16 bytes to FILE in a single write: the number of the job and its start, in nanoseconds since
 * 1970. Without ID, or with "-", the number is that in SCHEDULER_JOB_ID.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (count < 2)
        return 2;
    const char *id = count > 2 && strcmp(words[2], "-") ? words[2] : getenv("SCHEDULER_JOB_ID");
    while (id && *id && (*id < '0' || *id > '9'))
        id++;
    int64_t record[2] = {id ? atoll(id) : -1, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec};
    int file = open(words[1], O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (file < 0 || write(file, record, sizeof record) != sizeof record)
        return 1;
    if (count > 3)
        usleep(1000 * (useconds_t)atoi(words[3]));
    return 0;
}
