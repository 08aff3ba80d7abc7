// One open Realm: its native handle, its sync session, transactions, and where to find classes and properties.

import com.google.gson.*;
import io.realm.kotlin.internal.interop.*;
import io.realm.kotlin.internal.interop.sync.*;
import java.util.*;
import java.util.concurrent.*;

final class OpenRealm {
    final Schema schema;
    final long ptr;
    final long session;
    final List<JsonElement> errors = Collections.synchronizedList(new ArrayList<>());
    private final Queue<Runnable> work = new ConcurrentLinkedQueue<>();
    private final Map<String, Long> tableKeys = new HashMap<>();
    private final Map<String, Long> propertyKeys = new HashMap<>();
    private boolean writing;

    /**
     * Opens the Realm of a partition.
     *
     * @param partition the partition value as EJSON text
     * @param resync manual, discard, recover or recover_or_discard: what the client does when told to reset
     */
    OpenRealm(Device device, Schema schema, String partition, String resync) {
        this.schema = schema;
        long sync = realmc.realm_sync_config_new(device.user(), partition);
        realmc.sync_set_error_handler(sync, Sdk.callback(SyncErrorCallback.class, (method, args) -> {
            JsonElement e = Sdk.describe(args[args.length - 1], 3);
            Sdk.log("SYNC ERROR " + e);
            synchronized (errors) {
                errors.add(e);
                errors.notifyAll();
            }
        }));
        int mode = List.of("manual", "discard", "recover", "recover_or_discard").indexOf(resync);
        if (mode < 0) throw new IllegalArgumentException("no resync mode " + resync);
        realmc.realm_sync_config_set_resync_mode(sync, mode);
        String trusted = System.getenv("REALM_CLIENT_TRUST");          // PEM file: an authority for WebSockets over TLS
        if (trusted != null) realmc.realm_sync_config_set_ssl_trust_certificate_path(sync, trusted);
        long config = realmc.realm_config_new();
        realmc.realm_config_set_schema(config, schema.toNative());
        realmc.realm_config_set_schema_mode(config, realm_schema_mode_e.RLM_SCHEMA_MODE_ADDITIVE_DISCOVERED);
        realmc.realm_config_set_schema_version(config, 0);
        realmc.realm_config_set_path(config, realmc.realm_app_sync_client_get_default_file_path_for_realm(sync, null));
        realmc.realm_config_set_sync_config(config, sync);
        Object scheduler = Sdk.scheduler(work::add);
        if (Sdk.has("open_realm_with_scheduler", 2)) {
            ptr = (Long) Sdk.call("open_realm_with_scheduler", config, scheduler);
        } else {
            Sdk.call("realm_config_set_scheduler", config, Sdk.call("realm_create_scheduler", scheduler));
            ptr = realmc.realm_open(config);
        }
        realmc.realm_begin_read(ptr);
        session = realmc.realm_sync_session_get(ptr);
    }

    void close() {
        realmc.realm_close(ptr);
        realmc.realm_release(session);
        realmc.realm_release(ptr);
    }

    long table(String name) {
        return tableKeys.computeIfAbsent(name, n -> {
            boolean[] found = new boolean[1];
            realm_class_info_t info = new realm_class_info_t();
            realmc.realm_find_class(ptr, n, found, info);
            if (!found[0]) throw new IllegalArgumentException("no class " + n);
            return info.getKey();
        });
    }

    Schema.Table tableOf(long key) {
        for (Schema.Table t : schema.tables()) if (table(t.name()) == key) return t;
        throw new IllegalStateException("no class with key " + key);
    }

    long property(String table, String name) {
        return propertyKeys.computeIfAbsent(table + "." + name, n -> {
            boolean[] found = new boolean[1];
            realm_property_info_t info = new realm_property_info_t();
            realmc.realm_find_property(ptr, table(table), name, found, info);
            if (!found[0]) throw new IllegalArgumentException("no property " + n);
            return info.getKey();
        });
    }

    /** Runs what core scheduled for this thread and moves to the newest version. */
    void refresh() {
        for (Runnable r = work.poll(); r != null; r = work.poll()) r.run();
        if (!writing) realmc.realm_refresh(ptr, new boolean[1]);
    }

    interface Body { JsonElement run() throws Exception; }

    /** Runs the body in a transaction of its own, or in the one that is already open. */
    JsonElement write(Body body) throws Exception {
        if (writing) return body.run();
        realmc.realm_begin_write(ptr);
        writing = true;
        boolean done = false;
        try {
            JsonElement r = body.run();
            realmc.realm_commit(ptr);
            done = true;
            return r;
        } finally {
            writing = false;
            if (!done) realmc.realm_rollback(ptr);
        }
    }

    /** Waits until the server has acknowledged all local changes, or all its changes are here. */
    void waitFor(boolean upload, long milliseconds) throws Exception {
        CompletableFuture<Object> done = new CompletableFuture<>();
        SyncSessionTransferCompletionCallback callback = Sdk.callback(SyncSessionTransferCompletionCallback.class,
            (method, args) -> done.complete(args[0] == null ? "" : args[0]));
        JVMSyncSessionTransferCompletionCallback nativeCallback = new JVMSyncSessionTransferCompletionCallback(callback);
        Sdk.pins.add(nativeCallback);
        if (upload) realmc.realm_sync_session_wait_for_upload_completion(session, nativeCallback);
        else realmc.realm_sync_session_wait_for_download_completion(session, nativeCallback);
        Object error;
        try {
            error = done.get(milliseconds, TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            throw new Sdk.Failure("timeout", JsonNull.INSTANCE);
        }
        if (!error.equals("")) throw new Sdk.Failure("transfer error", Sdk.describe(error, 3));
        if (!upload) refresh();
    }

    /** Waits until the session has reported that many errors since the Realm was opened. */
    void waitForErrors(int count, long milliseconds) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(milliseconds);
        synchronized (errors) {
            while (errors.size() < count) {
                long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
                if (left <= 0) throw new Sdk.Failure("timeout", JsonNull.INSTANCE);
                errors.wait(left);
            }
        }
    }

    /** session: 0 active, 1 dying, 2 inactive, 3 waiting for a token, 4 paused; connection: 0 off, 1 connecting, 2 connected. */
    JsonObject state() {
        JsonObject r = new JsonObject();
        r.addProperty("session", realmc.realm_sync_session_get_state(session));
        r.addProperty("connection", realmc.realm_sync_session_get_connection_state(session));
        return r;
    }
}
