/* The C library's resolver: lookup NAME prints each address of the name on a line of its own. */

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found, *each;
    int error = count == 2 ? getaddrinfo(words[1], "80", &hints, &found) : EAI_FAIL;
    if (error) {
        fprintf(stderr, "%s\n", gai_strerror(error));
        return 1;
    }
    for (each = found; each; each = each->ai_next) {
        char text[64];
        getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST);
        puts(text);
    }
    return 0;
}
