// Drives the unmodified Realm SDK core (its C API through the SDK's own JNI binding) from another process.
// One JSON array per line on stdin, ["command", arguments...]; one JSON object per line on stdout,
// {"ok": true, "result": ...} or {"ok": false, "error": ..., "detail": ...}; logs on stderr.
// One process is one device. It can hold several Realms open; commands go to the one opened or used last.

import com.google.gson.*;
import io.realm.kotlin.internal.interop.realmc;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;

public final class RealmClient {
    private static final Map<String, String> options = new HashMap<>();

    private final Device device;
    private final Schema schema;
    private final Map<String, OpenRealm> realms = new HashMap<>();
    private OpenRealm realm;
    private Objects objects;

    private RealmClient(Device device, Schema schema) {
        this.device = device;
        this.schema = schema;
    }

    static String option(String name, String otherwise) {
        return options.getOrDefault(name, otherwise);
    }

    private JsonElement execute(String command, List<JsonElement> a) throws Exception {
        return switch (command) {
            case "register", "login", "logout", "user", "profile" -> account(command, a);
            case "open", "use", "close", "batch", "refresh" -> open(command, a);
            case "get", "dump", "count", "digest" -> read(command, a);
            case "wait_upload", "wait_download", "wait_errors", "pause", "resume", "reconnect", "state", "errors" -> sync(command, a);
            case "version" -> new JsonPrimitive(realmc.realm_get_library_version());
            default -> current().write(() -> change(command, a));
        };
    }

    private JsonElement account(String command, List<JsonElement> a) throws Exception {
        switch (command) {
            case "register" -> device.register(text(a, 0), text(a, 1));
            case "login" -> { return device.login(a); }
            case "logout" -> device.logout();
            case "user" -> { return new JsonPrimitive(realmc.realm_user_get_identity(device.user())); }
            default -> { return device.profile(); }
        }
        return JsonNull.INSTANCE;
    }

    // A partition is any JSON value; it travels as EJSON text. The optional name is for "use".
    private JsonElement open(String command, List<JsonElement> a) throws Exception {
        String name = a.isEmpty() ? "" : Sdk.GSON.toJson(a.get(0));
        switch (command) {
            case "open" -> {
                realms.put(name, new OpenRealm(device, schema, name, option("resync", "manual")));
                use(name);
            }
            case "use" -> use(name);
            case "close" -> {
                current().close();
                realms.values().remove(realm);
                realm = null;
                realmc.realm_app_sync_client_wait_for_sessions_to_terminate(device.app);
            }
            case "batch" -> current().write(() -> {            // several changes in one transaction
                for (JsonElement e : a.get(0).getAsJsonArray()) {
                    List<JsonElement> words = e.getAsJsonArray().asList();
                    change(words.get(0).getAsString(), words.subList(1, words.size()));
                }
                return JsonNull.INSTANCE;
            });
            default -> current().refresh();
        }
        return JsonNull.INSTANCE;
    }

    private void use(String name) {
        realm = realms.get(name);
        objects = new Objects(current());
    }

    private OpenRealm current() {
        if (realm == null) throw new IllegalStateException("no Realm is open");
        return realm;
    }

    private JsonElement change(String command, List<JsonElement> a) {
        String table = text(a, 0);
        switch (command) {
            case "create" -> objects.create(table, a.get(1), a.size() > 2 ? a.get(2).getAsJsonObject() : new JsonObject());
            case "create_many" -> 
                objects.createMany(table, a.get(1).getAsLong(), a.get(2).getAsLong(), text(a, 3), a.get(4).getAsInt());
            case "delete" -> objects.delete(table, a.get(1));
            case "delete_all" -> objects.deleteAll(table);
            case "set" -> objects.set(table, a.get(1), a.get(2), a.get(3));
            case "add" -> objects.add(table, a.get(1), a.get(2), a.get(3).getAsLong());
            case "erase" -> objects.erase(table, a.get(1), a.get(2));
            case "insert" -> objects.insert(table, a.get(1), a.get(2), a.get(3).getAsLong(), a.get(4));
            case "append" -> objects.insert(table, a.get(1), a.get(2), -1, a.get(3));
            case "move" -> objects.move(table, a.get(1), a.get(2), a.get(3).getAsLong(), a.get(4).getAsLong());
            case "clear" -> objects.clear(table, a.get(1), a.get(2));
            case "set_insert" -> objects.member(table, a.get(1), a.get(2), a.get(3), true);
            case "set_erase" -> objects.member(table, a.get(1), a.get(2), a.get(3), false);
            default -> throw new IllegalArgumentException("unknown command " + command);
        }
        return JsonNull.INSTANCE;
    }

    private JsonElement read(String command, List<JsonElement> a) throws Exception {
        current().refresh();
        return switch (command) {
            case "get" -> objects.get(text(a, 0), a.get(1));
            case "count" -> new JsonPrimitive(objects.count(text(a, 0)));
            case "digest" -> new JsonPrimitive(objects.digest());
            default -> a.isEmpty() ? objects.dump() : objects.dump(text(a, 0));
        };
    }

    private JsonElement sync(String command, List<JsonElement> a) throws Exception {
        OpenRealm r = current();
        switch (command) {
            case "wait_upload" -> r.waitFor(true, a.get(0).getAsLong());
            case "wait_download" -> r.waitFor(false, a.get(0).getAsLong());
            case "wait_errors" -> r.waitForErrors(a.get(0).getAsInt(), a.get(1).getAsLong());
            case "pause" -> realmc.realm_sync_session_pause(r.session);
            case "resume" -> realmc.realm_sync_session_resume(r.session);
            case "reconnect" -> realmc.realm_app_sync_client_reconnect(device.app);        // now, without the rest of the delay
            case "state" -> { return r.state(); }
            default -> {
                JsonArray all = new JsonArray();
                synchronized (r.errors) {
                    r.errors.forEach(all::add);
                }
                return all;
            }
        }
        return JsonNull.INSTANCE;
    }

    private static String text(List<JsonElement> a, int i) {
        return a.get(i).getAsString();
    }

    private JsonObject answer(String line) {
        JsonObject r = new JsonObject();
        try {
            List<JsonElement> words = JsonParser.parseString(line).getAsJsonArray().asList();
            JsonElement result = execute(words.get(0).getAsString(), words.subList(1, words.size()));
            r.addProperty("ok", true);
            r.add("result", result);
        } catch (Sdk.Failure f) {
            r.addProperty("ok", false);
            r.addProperty("error", f.getMessage());
            r.add("detail", f.detail);
        } catch (Exception e) {                                // reported to the caller, who decides
            r.addProperty("ok", false);
            r.addProperty("error", e.toString());
        }
        return r;
    }

    public static void main(String[] argv) throws IOException {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        for (int i = 0; i + 1 < argv.length; i += 2) options.put(argv[i].substring(2), argv[i + 1]);
        if (!options.keySet().containsAll(List.of("url", "app", "dir", "schema"))) {
            System.err.println("options: --url URL --app ID --dir DIRECTORY --schema FILE [--name NAME] [--log 0(all)..8(off)]"
                + " [--resync manual|discard|recover|recover_or_discard]");
            System.exit(2);
        }
        Files.createDirectories(Path.of(option("dir", "")));
        Schema schema = new Schema(JsonParser.parseString(Files.readString(Path.of(option("schema", "")))).getAsJsonObject());
        RealmClient client = new RealmClient(new Device(option("url", ""), option("app", ""), option("dir", "")), schema);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) out.println(Sdk.GSON.toJson(client.answer(line)));
        System.err.flush();
        Runtime.getRuntime().halt(0);                          // the SDK's threads would keep the process alive
    }
}
