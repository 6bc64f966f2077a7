// Java's resolver: java Lookup.java NAME... prints each address of each name, as NAME ADDRESS.

import java.net.InetAddress;
import java.net.UnknownHostException;

public class Lookup {
    public static void main(String[] names) {
        for (var name : names) {
            try {
                for (var address : InetAddress.getAllByName(name)) {
                    System.out.println(name + " " + address.getHostAddress());
                }
            } catch (UnknownHostException error) {
                System.err.println(error);
            }
        }
    }
}
