// The differences between the SDK versions, and what the binding needs to be kept alive.
// One source is compiled against every version, so the few functions whose name or signature differs are called by
// reflection; everything else is called directly.

import com.google.gson.*;
import io.realm.kotlin.internal.interop.realmc;
import java.lang.reflect.*;
import java.util.*;
import java.util.concurrent.*;

final class Sdk {
    static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping()
        .serializeSpecialFloatingPointValues().create();

    // Objects that native code still refers to: callbacks, transports, schedulers.
    static final List<Object> pins = Collections.synchronizedList(new ArrayList<>());

    private Sdk() {}

    /** A failure that the driver reports with a structured detail. */
    @SuppressWarnings("serial")
    static final class Failure extends RuntimeException {
        final JsonElement detail;

        Failure(String message, JsonElement detail) {
            super(message);
            this.detail = detail;
        }
    }

    /** A native handle that is released at the end of a try block. */
    record Handle(long ptr) implements AutoCloseable {
        @Override public void close() {
            realmc.realm_release(ptr);
        }
    }

    static void log(String line) {
        System.err.println("[" + RealmClient.option("name", "client") + "] " + line);
    }

    static boolean has(String function, int arguments) {
        for (Method m : realmc.class.getMethods())
            if (m.getName().equals(function) && m.getParameterCount() == arguments) return true;
        return false;
    }

    static Object call(String function, Object... args) {
        for (Method m : realmc.class.getMethods()) {
            if (!m.getName().equals(function) || m.getParameterCount() != args.length) continue;
            try {
                return m.invoke(null, args);
            } catch (InvocationTargetException e) {
                if (e.getCause() instanceof RuntimeException cause) throw cause;
                throw new IllegalStateException(e.getCause());
            } catch (IllegalAccessException e) {
                throw new IllegalStateException(e);
            }
        }
        throw new NoSuchElementException("no native function " + function + "/" + args.length);
    }

    /** Every argumentless getter of a Kotlin data object as JSON: the SDK's error objects differ by version. */
    static JsonElement describe(Object o, int depth) {
        if (o == null) return JsonNull.INSTANCE;
        if (o instanceof Number n) return new JsonPrimitive(n);
        if (o instanceof Boolean b) return new JsonPrimitive(b);
        if (o instanceof String || o instanceof Character || o instanceof Enum || o instanceof Throwable)
            return new JsonPrimitive(o.toString());
        if (o.getClass().isArray()) {
            JsonArray a = new JsonArray();
            for (int i = 0; i < Array.getLength(o); i++) a.add(describe(Array.get(o, i), depth - 1));
            return a;
        }
        if (depth <= 0) return new JsonPrimitive(o.toString());
        JsonObject r = new JsonObject();
        for (Method m : o.getClass().getMethods()) {
            String n = m.getName();
            boolean getter = n.startsWith("get") || n.startsWith("is");
            if (!getter || m.getParameterCount() != 0 || Modifier.isStatic(m.getModifiers()) || n.equals("getClass")) continue;
            try {
                m.setAccessible(true);
                r.add(n.startsWith("get") ? n.substring(3) : n, describe(m.invoke(o), depth - 1));
            } catch (ReflectiveOperationException | RuntimeException e) {
                r.addProperty(n, "unreadable: " + e);
            }
        }
        return r.size() == 0 ? new JsonPrimitive(o.toString()) : r;
    }

    /**
     * The SDK's own scheduler over a queue of work. The Linux build has no default scheduler (asking for one ends the
     * process), so core hands its notifications to this queue and the thread that owns the Realm runs them.
     */
    static Object scheduler(Executor work) {
        try {
            Constructor<?> c = Class.forName("io.realm.kotlin.internal.interop.JVMScheduler")
                .getDeclaredConstructor(kotlinx.coroutines.CoroutineDispatcher.class);
            c.setAccessible(true);
            Object scheduler = c.newInstance(kotlinx.coroutines.ExecutorsKt.from(work));
            pins.add(scheduler);
            return scheduler;
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Implements a callback interface whose methods differ by version: each call goes to the function. */
    static <T> T callback(Class<T> type, java.util.function.BiConsumer<String, Object[]> function) {
        InvocationHandler h = (proxy, method, args) -> switch (method.getName()) {
            case "hashCode" -> System.identityHashCode(proxy);
            case "equals" -> proxy == args[0];
            case "toString" -> type.getSimpleName();
            default -> {
                function.accept(method.getName(), args == null ? new Object[0] : args);
                yield null;
            }
        };
        T proxy = type.cast(Proxy.newProxyInstance(Sdk.class.getClassLoader(), new Class<?>[] {type}, h));
        pins.add(proxy);
        return proxy;
    }
}
