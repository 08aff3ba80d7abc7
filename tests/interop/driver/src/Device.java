// One installation of an application: its directory, its HTTP transport, its logged-in user.

import com.google.gson.*;
import io.realm.kotlin.internal.interop.*;
import io.realm.kotlin.internal.interop.sync.*;
import java.net.URI;
import java.net.http.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;

final class Device {
    private static final int REQUEST_SECONDS = 30;
    private static final int ANSWER_SECONDS = 60;      // a login is three requests

    final long app;
    private long user;

    Device(String url, String appId, String directory) {
        startLog(Integer.parseInt(RealmClient.option("log", "4")));
        Transport transport = new Transport();
        Sdk.pins.add(transport);
        long config = realmc.realm_app_config_new(appId, realmc.realm_network_transport_new(transport));
        realmc.realm_app_config_set_base_url(config, url);
        realmc.realm_app_config_set_sdk(config, "interop");
        realmc.realm_app_config_set_sdk_version(config, "1.0");
        realmc.realm_app_config_set_platform_version(config, "1");
        realmc.realm_app_config_set_device_name(config, "device");
        realmc.realm_app_config_set_device_version(config, "1");
        realmc.realm_app_config_set_framework_name(config, "JVM");
        realmc.realm_app_config_set_framework_version(config, System.getProperty("java.version"));
        if (Sdk.has("realm_app_config_set_platform", 2)) Sdk.call("realm_app_config_set_platform", config, "linux");
        if (Sdk.has("realm_app_config_set_cpu_arch", 2)) Sdk.call("realm_app_config_set_cpu_arch", config, "x86_64");
        if (Sdk.has("realm_app_config_set_bundle_id", 2)) Sdk.call("realm_app_config_set_bundle_id", config, "interop");
        boolean old = Sdk.has("realm_sync_client_config_new", 0);      // 1.x: directory and metadata are the sync client's
        long sync = old ? (Long) Sdk.call("realm_sync_client_config_new")
            : (Long) Sdk.call("realm_app_config_get_sync_client_config", config);
        String owner = old ? "realm_sync_client_config_" : "realm_app_config_";
        Sdk.call(owner + "set_base_file_path", old ? sync : config, directory);
        Sdk.call(owner + "set_metadata_mode", old ? sync : config, realm_sync_client_metadata_mode_e.RLM_SYNC_CLIENT_METADATA_MODE_PLAINTEXT);
        realmc.realm_sync_client_config_set_user_agent_binding_info(sync, "interop/1");
        app = old ? (Long) Sdk.call("realm_app_create", config, sync) : (Long) Sdk.call("realm_app_create", config);
    }

    private static void startLog(int level) {
        LogCallback sink = Sdk.callback(LogCallback.class, (method, args) -> {
            StringBuilder line = new StringBuilder("core");
            for (Object x : args) line.append(' ').append(x);
            Sdk.log(line.toString());
        });
        if (Sdk.has("set_log_callback", 2)) Sdk.call("set_log_callback", level, sink);
        else Sdk.call("set_log_callback", sink);
        if (Sdk.has("realm_set_log_level_category", 2)) Sdk.call("realm_set_log_level_category", "Realm", level);
        else if (Sdk.has("realm_set_log_level", 1)) Sdk.call("realm_set_log_level", level);
    }

    /** The logged-in user, remembered from an earlier run in the same directory if need be. */
    long user() {
        if (user == 0) user = realmc.realm_app_get_current_user(app);
        if (user == 0) throw new IllegalStateException("not logged in");
        return user;
    }

    void register(String email, String password) throws Exception {
        ask(w -> realmc.realm_app_email_password_provider_client_register_email(app, email, password, w));
    }

    /** Logs in: ["anonymous"], ["email", address, password] or ["jwt", token]. */
    JsonObject login(List<JsonElement> how) throws Exception {
        String kind = how.get(0).getAsString();
        long credentials = switch (kind) {
            case "anonymous" -> realmc.realm_app_credentials_new_anonymous(false);
            case "email" -> realmc.realm_app_credentials_new_email_password(how.get(1).getAsString(), how.get(2).getAsString());
            case "jwt" -> realmc.realm_app_credentials_new_jwt(how.get(1).getAsString());
            default -> throw new IllegalArgumentException("login " + how);
        };
        Object pointer = ask(w -> realmc.realm_app_log_in_with_credentials(app, credentials, w));
        user = Long.parseUnsignedLong(pointer.toString(), 16);
        JsonObject r = new JsonObject();
        r.addProperty("user", realmc.realm_user_get_identity(user));
        r.addProperty("state", realmc.realm_user_get_state(user));
        r.addProperty("device", realmc.realm_user_get_device_id(user));
        return r;
    }

    void logout() throws Exception {
        ask(w -> realmc.realm_app_log_out(app, user(), w));
    }

    JsonElement profile() {
        return JsonParser.parseString(realmc.realm_user_get_profile_data(user()));
    }

    private interface Request { void start(AppCallback<Object> callback); }

    private static Object ask(Request request) throws Exception {
        CompletableFuture<Object> answer = new CompletableFuture<>();
        request.start(new AppCallback<>() {
            @Override public void onSuccess(Object result) { answer.complete(result); }
            @Override public void onError(AppError e) {
                answer.completeExceptionally(new Sdk.Failure("app error", Sdk.describe(e, 3)));
            }
        });
        try {
            return answer.get(ANSWER_SECONDS, TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof Sdk.Failure f ? f : e;
        } catch (TimeoutException e) {
            throw new Sdk.Failure("timeout", JsonNull.INSTANCE);
        }
    }

    /** What the SDK asks its host to do: send an HTTP request, and give the answer back on another thread. */
    private static final class Transport implements NetworkTransport {
        private final ExecutorService pool = Executors.newCachedThreadPool(work -> {
            Thread t = new Thread(work, "http");
            t.setDaemon(true);
            return t;
        });
        private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10))
            .version(HttpClient.Version.HTTP_1_1).followRedirects(HttpClient.Redirect.NEVER).executor(pool).build();

        @Override public String getAuthorizationHeaderName() { return null; }
        @Override public Map<String, String> getCustomHeaders() { return Map.of(); }
        @Override public void close() {}

        @Override public void sendRequest(String method, String url, Map<String, String> headers, String body, ResponseCallback callback) {
            pool.submit(() -> callback.response(send(method.toUpperCase(Locale.ROOT), url, headers, body)));
        }

        private Response send(String method, String url, Map<String, String> headers, String body) {
            boolean bodyless = body == null || body.isEmpty() || method.equals("GET");
            try {
                HttpRequest.Builder b = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(REQUEST_SECONDS));
                headers.forEach(b::header);
                b.method(method, bodyless ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body));
                Sdk.log("HTTP> " + method + " " + url);
                HttpResponse<String> r = http.send(b.build(), HttpResponse.BodyHandlers.ofString());
                Sdk.log("HTTP< " + r.statusCode() + (r.statusCode() < 300 ? "" : " " + r.body()));
                Map<String, String> answered = new HashMap<>();
                r.headers().map().forEach((k, v) -> answered.put(k, String.join(", ", v)));
                return new Response(r.statusCode(), 0, answered, r.body());
            } catch (java.io.IOException | InterruptedException | IllegalArgumentException e) {
                Sdk.log("HTTP! " + e);
                return new Response(0, -1, new HashMap<>(), e.toString());      // custom status: no HTTP answer
            }
        }
    }
}
