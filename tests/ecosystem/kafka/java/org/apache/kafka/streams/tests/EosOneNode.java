package org.apache.kafka.streams.tests;

import java.util.Properties;
import org.apache.kafka.common.utils.Utils;

/**
 * The published EosTestClient on one node. It asks for three replicas of its internal topics and commits every
 * five seconds; the file's own settings win here, whatever it puts. In its package because its constructor is.
 */
public final class EosOneNode {
    public static void main(String[] args) throws Exception {
        Properties file = Utils.loadProps(args[0]);
        Properties settings = new Properties() {
            @Override
            public synchronized Object put(Object key, Object value) {
                return super.put(key, file.getOrDefault(key, value));
            }
        };
        file.forEach(settings::put);
        new EosTestClient(settings, true).start();
    }
}
