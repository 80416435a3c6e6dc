// The handler's process as text, so that it travels inside the binary. Only `start`, `generate` and the like load this file;
// a test checks that every file of helper/ is in the table.
import enginePackage from "./helper/fettle_engine/__init__.py" with { type: "text" };
import argumentsFile from "./helper/fettle_engine/arguments.py" with { type: "text" };
import changes from "./helper/fettle_engine/changes.py" with { type: "text" };
import ending from "./helper/fettle_engine/ending.py" with { type: "text" };
import failure from "./helper/fettle_engine/failure.py" with { type: "text" };
import fitness from "./helper/fettle_engine/fitness.py" with { type: "text" };
import handler from "./helper/fettle_engine/handler.py" with { type: "text" };
import handlerFile from "./helper/fettle_engine/handler_file.py" with { type: "text" };
import host from "./helper/fettle_engine/host.py" with { type: "text" };
import jsonValue from "./helper/fettle_engine/json_value.py" with { type: "text" };
import program from "./helper/fettle_engine/program.py" with { type: "text" };
import run from "./helper/fettle_engine/run.py" with { type: "text" };
import sdk from "./helper/fettle_engine/sdk.py" with { type: "text" };
import server from "./helper/fettle_engine/server.py" with { type: "text" };
import serving from "./helper/fettle_engine/serving.py" with { type: "text" };
import streams from "./helper/fettle_engine/streams.py" with { type: "text" };
import fettleHandler from "./helper/fettle_handler.py" with { type: "text" };
import sdkPackage from "./helper/sdk/runpod/__init__.py" with { type: "text" };
import sdkServerless from "./helper/sdk/runpod/serverless/__init__.py" with { type: "text" };
import sdkModulesPackage from "./helper/sdk/runpod/serverless/modules/__init__.py" with { type: "text" };
import sdkModulesRpFitness from "./helper/sdk/runpod/serverless/modules/rp_fitness.py" with { type: "text" };
import sdkModulesRpLogger from "./helper/sdk/runpod/serverless/modules/rp_logger.py" with { type: "text" };
import sdkModulesRpProgress from "./helper/sdk/runpod/serverless/modules/rp_progress.py" with { type: "text" };
import sdkUtilsPackage from "./helper/sdk/runpod/serverless/utils/__init__.py" with { type: "text" };
import sdkUtilsRpCleanup from "./helper/sdk/runpod/serverless/utils/rp_cleanup.py" with { type: "text" };
import sdkUtilsRpDebugger from "./helper/sdk/runpod/serverless/utils/rp_debugger.py" with { type: "text" };
import sdkUtilsRpDownload from "./helper/sdk/runpod/serverless/utils/rp_download.py" with { type: "text" };
import sdkUtilsRpSsrf from "./helper/sdk/runpod/serverless/utils/rp_ssrf.py" with { type: "text" };
import sdkUtilsRpUpload from "./helper/sdk/runpod/serverless/utils/rp_upload.py" with { type: "text" };
import sdkUtilsRpValidator from "./helper/sdk/runpod/serverless/utils/rp_validator.py" with { type: "text" };
import sdkUtilsS3 from "./helper/sdk/runpod/serverless/utils/s3.py" with { type: "text" };

/** Path within the unpacked folder → text: all of helper/. */
export const pythonAssets: Readonly<Record<string, string>> = {
  "fettle_engine/__init__.py": enginePackage,
  "fettle_engine/arguments.py": argumentsFile,
  "fettle_engine/changes.py": changes,
  "fettle_engine/ending.py": ending,
  "fettle_engine/failure.py": failure,
  "fettle_engine/fitness.py": fitness,
  "fettle_engine/handler.py": handler,
  "fettle_engine/handler_file.py": handlerFile,
  "fettle_engine/host.py": host,
  "fettle_engine/json_value.py": jsonValue,
  "fettle_engine/program.py": program,
  "fettle_engine/run.py": run,
  "fettle_engine/sdk.py": sdk,
  "fettle_engine/server.py": server,
  "fettle_engine/serving.py": serving,
  "fettle_engine/streams.py": streams,
  "fettle_handler.py": fettleHandler,
  "sdk/runpod/__init__.py": sdkPackage,
  "sdk/runpod/serverless/__init__.py": sdkServerless,
  "sdk/runpod/serverless/modules/__init__.py": sdkModulesPackage,
  "sdk/runpod/serverless/modules/rp_fitness.py": sdkModulesRpFitness,
  "sdk/runpod/serverless/modules/rp_logger.py": sdkModulesRpLogger,
  "sdk/runpod/serverless/modules/rp_progress.py": sdkModulesRpProgress,
  "sdk/runpod/serverless/utils/__init__.py": sdkUtilsPackage,
  "sdk/runpod/serverless/utils/rp_cleanup.py": sdkUtilsRpCleanup,
  "sdk/runpod/serverless/utils/rp_debugger.py": sdkUtilsRpDebugger,
  "sdk/runpod/serverless/utils/rp_download.py": sdkUtilsRpDownload,
  "sdk/runpod/serverless/utils/rp_ssrf.py": sdkUtilsRpSsrf,
  "sdk/runpod/serverless/utils/rp_upload.py": sdkUtilsRpUpload,
  "sdk/runpod/serverless/utils/rp_validator.py": sdkUtilsRpValidator,
  "sdk/runpod/serverless/utils/s3.py": sdkUtilsS3,
};
