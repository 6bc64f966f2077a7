/* The C library's resolver: lookup NAME... prints each address of each name, as NAME ADDRESS. */

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found, *each;
    for (int word = 1; word < count; word++) {
        if (getaddrinfo(words[word], "80", &hints, &found)) continue;
        for (each = found; each; each = each->ai_next) {
            char text[64];
            getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST);
            printf("%s %s\n", words[word], text);
        }
        freeaddrinfo(found);
    }
    return 0;
}
