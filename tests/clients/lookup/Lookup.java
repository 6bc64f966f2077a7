// Java's resolver: java Lookup.java NAME prints each address of the name on a line of its own.

import java.net.InetAddress;

public class Lookup {
    public static void main(String[] arguments) throws Exception {
        for (var address : InetAddress.getAllByName(arguments[0])) {
            System.out.println(address.getHostAddress());
        }
    }
}
